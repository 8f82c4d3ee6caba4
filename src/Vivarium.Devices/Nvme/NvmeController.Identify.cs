using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Devices;

/// <summary>IDENTIFY (NVMe 1.4, 5.15).</summary>
public sealed partial class NvmeController
{
    private const string Model = "NVME DISK";
    private const string Firmware = "1.0";

    private const uint NamespaceStructure = 0;
    private const uint ControllerStructure = 1;
    private const uint ActiveNamespaces = 2;
    private const uint NamespaceDescriptors = 3;

    /// <summary>A power of two of pages: 1 MiB.</summary>
    private const byte MaxTransferPower = 8;

    /// <summary>Blocks that can be written without reading, less one.</summary>
    private ushort PreferredBlocks => (ushort)(Math.Max(1, _backend.PhysicalBlockSize / BlockSize) - 1);

    private NvmeStatus Identify(in NvmeCommand command)
    {
        Span<byte> data = stackalloc byte[(int)PageSize];
        data.Clear();
        switch (command.Dword10 & 0xFF)
        {
            case NamespaceStructure when command.Namespace == OnlyNamespace:
                FillNamespace(data);
                break;
            case NamespaceStructure when command.Namespace == AllNamespaces:
            case NamespaceStructure or NamespaceDescriptors when command.Namespace != OnlyNamespace:
                return NvmeStatus.InvalidNamespace;
            case ControllerStructure:
                FillController(data);
                break;
            case ActiveNamespaces when command.Namespace >= AllNamespaces - 1:
                return NvmeStatus.InvalidNamespace;
            case ActiveNamespaces:
                BinaryPrimitives.WriteUInt32LittleEndian(data, command.Namespace < OnlyNamespace ? OnlyNamespace : 0);
                break;
            case NamespaceDescriptors:
                // The UUID.
                data[0] = 3;
                data[1] = (byte)_uuid.Length;
                _uuid.CopyTo(data[4..]);
                break;
            default:
                return NvmeStatus.InvalidField;
        }

        return CopyOut(command, data);
    }

    private void FillController(Span<byte> data)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(data, s_identity.VendorId);
        BinaryPrimitives.WriteUInt16LittleEndian(data[2..], s_identity.SubsystemVendorId);
        SetText(data.Slice(4, SerialLength), _serial);
        SetText(data.Slice(24, 40), Model);
        SetText(data.Slice(64, 8), Firmware);

        // 73: the vendor's IEEE identifier, lowest byte first.
        data[73] = 0x38;
        data[74] = 0x25;
        data[77] = MaxTransferPower;
        BinaryPrimitives.WriteUInt32LittleEndian(data[80..], Version14);

        // 111: an I/O controller.
        data[111] = 1;
        data[258] = 3;
        data[259] = MaxEventRequests - 1;

        // 260: one firmware slot, read-only; 262: entries of the error log, less one.
        data[260] = 3;
        data[262] = ErrorEntries - 1;

        // 266 and 268: warning and critical temperature, in kelvins.
        BinaryPrimitives.WriteUInt16LittleEndian(data[266..], 343);
        BinaryPrimitives.WriteUInt16LittleEndian(data[268..], 353);
        data[512] = 0x66;
        data[513] = 0x44;
        BinaryPrimitives.WriteUInt32LittleEndian(data[516..], OnlyNamespace);

        // 520: dataset management, write zeroes; 525: there is a volatile write cache.
        BinaryPrimitives.WriteUInt16LittleEndian(data[520..], 0x000C);
        data[525] = 1;
        Encoding.ASCII.GetBytes($"nqn.2014-08.org.nvmexpress:uuid:{new Guid(_uuid, bigEndian: true):D}", data.Slice(768, 256));

        // 2048: power state 0, in hundredths of a watt.
        BinaryPrimitives.WriteUInt16LittleEndian(data[2048..], 600);
    }

    private void FillNamespace(Span<byte> data)
    {
        const int blockSizePower = 9;
        const byte hasPreferences = 1 << 4, isWriteProtected = 1;
        BinaryPrimitives.WriteUInt64LittleEndian(data, Blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data[8..], Blocks);
        BinaryPrimitives.WriteUInt64LittleEndian(data[16..], Blocks);
        data[24] = hasPreferences;

        // 64 to 72: granularity and alignment of writes and deallocation, optimal write size.
        for (var field = 64; field <= 72; field += sizeof(ushort))
            BinaryPrimitives.WriteUInt16LittleEndian(data[field..], PreferredBlocks);
        data[99] = _backend.ReadOnly ? isWriteProtected : (byte)0;
        BinaryPrimitives.WriteUInt32LittleEndian(data[128..], blockSizePower << 16);
    }

    private static void SetText(Span<byte> field, string text)
    {
        field.Fill((byte)' ');
        Encoding.ASCII.GetBytes(text.AsSpan(0, Math.Min(text.Length, field.Length)), field);
    }
}
