namespace Vivarium.Firmware.Acpi;

/// <summary>
/// Writes ACPI Machine Language: each method appends one term as ACPI 20.2 encodes it. Nested terms are given as a
/// function that fills a builder of their own, because their length comes before them.
/// </summary>
internal sealed class AmlBuilder
{
    private const byte ZeroOp = 0x00;
    private const byte OneOp = 0x01;
    private const byte NameOp = 0x08;
    private const byte BytePrefix = 0x0A;
    private const byte WordPrefix = 0x0B;
    private const byte DWordPrefix = 0x0C;
    private const byte StringPrefix = 0x0D;
    private const byte QWordPrefix = 0x0E;
    private const byte ScopeOp = 0x10;
    private const byte BufferOp = 0x11;
    private const byte PackageOp = 0x12;
    private const byte MethodOp = 0x14;
    private const byte DualNamePrefix = 0x2E;
    private const byte ExtOpPrefix = 0x5B;
    private const byte RootChar = (byte)'\\';
    private const byte Arg0Op = 0x68;
    private const byte StoreOp = 0x70;
    private const byte DeviceOp = 0x82;
    private const byte IfOp = 0xA0;
    private const byte ReturnOp = 0xA4;
    private const int NameSegmentLength = 4;

    private readonly LittleEndianWriter _out = new();

    public byte[] ToArray() => _out.ToArray();

    public void Scope(string path, Action<AmlBuilder> body) => Block(ScopeOp, aml => aml.NameString(path), body);

    public void Device(string name, Action<AmlBuilder> body)
    {
        _out.U8(ExtOpPrefix);
        Block(DeviceOp, aml => aml.NameString(name), body);
    }

    /// <summary>A method that is not serialized.</summary>
    public void Method(string name, int arguments, Action<AmlBuilder> body) => Block(
        MethodOp,
        aml =>
        {
            aml.NameString(name);
            aml._out.U8((byte)arguments);
        },
        body);

    public void Name(string name, Action<AmlBuilder> value)
    {
        _out.U8(NameOp);
        NameString(name);
        value(this);
    }

    public void Name(string name, ulong value) => Name(name, aml => aml.Integer(value));

    public void Name(string name, ResourceTemplate value) => Name(name, aml => aml.Buffer(value.ToArray()));

    /// <summary>_HID or _CID as a compressed EISA identifier.</summary>
    public void HardwareId(string eisaId) => Name("_HID", EisaId(eisaId));

    public void Integer(ulong value)
    {
        switch (value)
        {
            case 0:
                _out.U8(ZeroOp);
                break;
            case 1:
                _out.U8(OneOp);
                break;
            case <= byte.MaxValue:
                _out.U8(BytePrefix);
                _out.U8((byte)value);
                break;
            case <= ushort.MaxValue:
                _out.U8(WordPrefix);
                _out.U16((ushort)value);
                break;
            case <= uint.MaxValue:
                _out.U8(DWordPrefix);
                _out.U32((uint)value);
                break;
            default:
                _out.U8(QWordPrefix);
                _out.U64(value);
                break;
        }
    }

    public void String(string text)
    {
        _out.U8(StringPrefix);
        foreach (char c in text)
        {
            _out.U8((byte)c);
        }

        _out.U8(0);
    }

    public void Buffer(ReadOnlySpan<byte> bytes)
    {
        var content = new AmlBuilder();
        content.Integer((ulong)bytes.Length);
        content._out.Bytes(bytes);
        _out.U8(BufferOp);
        WithPackageLength(content);
    }

    /// <summary>A package of at most 255 elements, each written by one function.</summary>
    public void Package(params ReadOnlySpan<Action<AmlBuilder>> elements)
    {
        var content = new AmlBuilder();
        content._out.U8((byte)elements.Length);
        foreach (Action<AmlBuilder> element in elements)
        {
            element(content);
        }

        _out.U8(PackageOp);
        WithPackageLength(content);
    }

    public void Package(params ReadOnlySpan<ulong> integers)
    {
        var content = new AmlBuilder();
        content._out.U8((byte)integers.Length);
        foreach (ulong integer in integers)
        {
            content.Integer(integer);
        }

        _out.U8(PackageOp);
        WithPackageLength(content);
    }

    public void StoreArgument(int argument, string target)
    {
        _out.U8(StoreOp);
        _out.U8((byte)(Arg0Op + argument));
        NameString(target);
    }

    /// <summary>If the named integer is not zero.</summary>
    public void If(string condition, Action<AmlBuilder> body) => Block(IfOp, aml => aml.NameString(condition), body);

    public void Return(Action<AmlBuilder> value)
    {
        _out.U8(ReturnOp);
        value(this);
    }

    /// <summary>A path of one or two segments, absolute if it begins with a backslash; segments are filled up with underscores.</summary>
    public void NameString(string path)
    {
        ReadOnlySpan<char> rest = path;
        if (rest.StartsWith('\\'))
        {
            _out.U8(RootChar);
            rest = rest[1..];
        }

        int dot = rest.IndexOf('.');
        if (dot >= 0)
        {
            _out.U8(DualNamePrefix);
            NameSegment(rest[..dot]);
            rest = rest[(dot + 1)..];
        }

        NameSegment(rest);
    }

    private static uint EisaId(string id)
    {
        uint packed = (uint)((id[0] - '@') << 26 | (id[1] - '@') << 21 | (id[2] - '@') << 16) | Convert.ToUInt32(id[3..], 16);
        return System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(packed);
    }

    private void NameSegment(ReadOnlySpan<char> segment)
    {
        for (int i = 0; i < NameSegmentLength; i++)
        {
            _out.U8(i < segment.Length ? (byte)segment[i] : (byte)'_');
        }
    }

    private void Block(byte op, Action<AmlBuilder> head, Action<AmlBuilder> body)
    {
        var content = new AmlBuilder();
        head(content);
        body(content);
        _out.U8(op);
        WithPackageLength(content);
    }

    /// <summary>Appends PkgLength, which counts its own bytes too (ACPI 20.2.4), and the content.</summary>
    private void WithPackageLength(AmlBuilder content)
    {
        const int oneByteMaximum = 0x3F;
        int length = content._out.Length;
        if (length + 1 <= oneByteMaximum)
        {
            _out.U8((byte)(length + 1));
        }
        else
        {
            int extra = length + 2 < 1 << 12 ? 1 : length + 3 < 1 << 20 ? 2 : 3;
            int total = length + 1 + extra;
            _out.U8((byte)(extra << 6 | total & 0xF));
            for (int i = 0; i < extra; i++)
            {
                _out.U8((byte)(total >> (4 + 8 * i)));
            }
        }

        _out.Bytes(content._out.Written);
    }
}
