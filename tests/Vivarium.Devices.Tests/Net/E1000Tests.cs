using System.Buffers.Binary;
using static Vivarium.Devices.Tests.E1000Machine;

namespace Vivarium.Devices.Tests;

public sealed class E1000Tests : IDisposable
{
    private static readonly byte[] s_broadcast = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    private static readonly byte[] s_other = [0x52, 0x54, 0, 9, 9, 9];

    private readonly E1000Machine _card = new();

    public void Dispose() => _card.Dispose();

    [Fact]
    public void The_EEPROM_read_through_EERD_holds_the_address_and_adds_up()
    {
        var words = Enumerable.Range(0, 64).Select(ReadWord).ToArray();
        Assert.Equal([0x5452, 0x1200, 0x5634], words[..3]);
        Assert.Equal(0xBABA, words.Sum(word => word) & 0xFFFF);

        int ReadWord(int address)
        {
            _card[Eerd] = (uint)address << 8 | 1;
            Assert.Equal(0x10u, _card[Eerd] & 0x11);
            return (int)(_card[Eerd] >> 16);
        }
    }

    [Fact]
    public void The_EEPROM_read_bit_by_bit_says_the_same()
    {
        _card[Eecd] = 0x40;
        Assert.Equal(0xC0u, _card[Eecd] & 0xC0);
        for (var word = 0u; word < 3; word++)
        {
            _card[Eecd] = 0x42;
            for (var bit = 8; bit >= 0; bit--)
                Clock((0b110u << 6 | word) >> bit & 1);
            Assert.Equal(0u, _card[Eecd] & 8);
            uint value = 0;
            for (var bit = 0; bit < 16; bit++)
            {
                Clock(0);
                value = value << 1 | (_card[Eecd] >> 3 & 1);
            }

            Assert.Equal(BinaryPrimitives.ReadUInt16LittleEndian(Mac.AsSpan((int)word * 2)), value);
            _card[Eecd] = 0x40;
        }

        void Clock(uint data)
        {
            _card[Eecd] = 0x42 | data << 2;
            _card[Eecd] = 0x43 | data << 2;
            _card[Eecd] = 0x42 | data << 2;
        }
    }

    [Fact]
    public void The_transceiver_has_a_link_and_an_identity()
    {
        Assert.Equal(0x0141u, ReadPhy(2));
        Assert.Equal(0x0C20u, ReadPhy(3));
        Assert.Equal(0x24u, ReadPhy(1) & 0x24);
        Assert.Equal(2u, _card[Status] & 2);
        _card[Ims] = 1 << 9;
        _card[Mdic] = 4u << 16 | 1 << 21 | 1u << 26 | 1 << 29 | 0x01E1;
        Assert.True(_card.Interrupted);
        Assert.Equal(1u << 9, _card[Icr]);
        Assert.False(_card.Interrupted);
        Assert.Equal(0x01E1u, ReadPhy(4));
        _card[Mdic] = 1u << 16 | 7 << 21 | 2u << 26;
        Assert.NotEqual(0u, _card[Mdic] & 1 << 30);

        uint ReadPhy(uint register)
        {
            _card[Mdic] = register << 16 | 1 << 21 | 2u << 26;
            Assert.Equal(1u << 28, _card[Mdic] & (5u << 28));
            return _card[Mdic] & 0xFFFF;
        }
    }

    [Fact]
    public void A_legacy_descriptor_sends_a_frame_and_reports_it()
    {
        var frame = Frame(s_other);
        _card[Ims] = 1;
        _card.QueueLegacy(frame.AsSpan(0, 60), command: 0);
        var last = _card.QueueLegacy(frame.AsSpan(60));
        _card.Kick();
        Assert.Equal(frame, Assert.Single(_card.Network.Sent).Frame);
        Assert.Equal(1, _card.TransmitStatus(last));
        Assert.Equal(0, _card.TransmitStatus(0));
        Assert.True(_card.Interrupted);
        Assert.Equal(3u, _card[Icr]);
        Assert.Equal(_card[Tdt], _card[Tdh]);
        Assert.Equal(1u, _card[0x4080]);
        Assert.Equal(0u, _card[0x4080]);
        Assert.Equal(104u, _card[0x4090]);
    }

    [Fact]
    public void A_legacy_descriptor_can_have_a_checksum_put_in()
    {
        var frame = Frame(s_other);
        frame.AsSpan(50, 2).Clear();
        _card.QueueLegacy(frame, command: 0x0D, checksumOffset: 50, checksumStart: 34);
        _card.Kick();
        Assert.Equal(0, Sum(_card.Network.Sent[0].Frame.AsSpan(34)));
    }

    [Fact]
    public void Received_frames_fill_buffers_with_their_check_sequence_or_without()
    {
        _card[Rctl] = Enable;
        _card[Ims] = 0x80;
        var frame = Frame(Mac);
        Assert.True(_card.Network.Bring(frame));
        Assert.True(_card.Interrupted);
        Assert.Equal(0x80u, _card[Icr] & 0x80);
        var received = _card.Received()!.Value;
        Assert.Equal([.. frame, 0, 0, 0, 0], received.Bytes);
        Assert.Equal(7, received.Status);

        _card[Rctl] = Enable | Strip;
        Assert.True(_card.Network.Bring(frame));
        Assert.Equal(frame, _card.Received()!.Value.Bytes);

        // A frame that no wire would carry is padded.
        Assert.True(_card.Network.Bring(frame.AsSpan(0, 42)));
        Assert.Equal([.. frame[..42], .. new byte[18]], _card.Received()!.Value.Bytes);
        Assert.Equal(3u, _card[0x4074]);
    }

    [Fact]
    public void A_large_frame_spreads_over_several_buffers()
    {
        var frame = Frame(Mac, 1400);
        _card[Rctl] = Enable | Strip | 3 << 16;
        Assert.True(_card.Network.Bring(frame));
        Assert.Equal(6u, _card[Rdh]);
        Assert.Equal(frame, _card.Received()!.Value.Bytes);

        // Two buffers are left.
        Assert.False(_card.Network.Bring(frame));
        var ready = _card.Network.ReadyCalls;
        _card.Refill();
        Assert.Equal(ready + 1, _card.Network.ReadyCalls);
        Assert.True(_card.Network.Bring(frame));
    }

    [Fact]
    public void Frames_longer_than_the_standard_are_for_those_who_want_them()
    {
        _card[Rctl] = Enable | Strip;
        Assert.True(_card.Network.Bring(Frame(Mac, 4000)));
        Assert.Null(_card.Received());
        Assert.Equal(1u, _card[0x40AC]);
        _card[Rctl] = Enable | Strip | Long;
        Assert.True(_card.Network.Bring(Frame(Mac, 4000)));
        Assert.Equal(4000, _card.Received()!.Value.Bytes.Length);
    }

    [Fact]
    public void Filters_choose_by_address()
    {
        byte[] multicast = [0x01, 0x00, 0x5E, 0x00, 0x12, 0x34];
        Assert.False(Takes(Enable, s_other));
        Assert.True(Takes(Enable, Mac));
        Assert.False(Takes(Enable, s_broadcast));
        Assert.True(Takes(Enable | Broadcast, s_broadcast));
        Assert.True(Takes(Enable | Unicast, s_other));
        Assert.False(Takes(Enable | Unicast, multicast));
        Assert.True(Takes(Enable | Multicast, multicast));

        // 12:34, bits 47:36 of the address: 341h.
        _card[Mta + 0x341 / 32 * 4] = 1u << (0x341 % 32);
        Assert.True(Takes(Enable, multicast));
        Assert.False(Takes(Enable | 1 << 12, multicast));

        _card[Ral + 8] = BinaryPrimitives.ReadUInt32LittleEndian(s_other);
        _card[Ral + 12] = BinaryPrimitives.ReadUInt16LittleEndian(s_other.AsSpan(4));
        Assert.False(Takes(Enable, s_other));
        _card[Ral + 12] |= 1u << 31;
        Assert.True(Takes(Enable, s_other));
    }

    private bool Takes(uint control, byte[] destination)
    {
        _card[Rctl] = control;
        Assert.True(_card.Network.Bring(Frame(destination)));
        var taken = _card.Received() is not null;
        _card.Refill();
        return taken;
    }

    [Fact]
    public void Tags_are_inserted_stripped_and_filtered()
    {
        _card[0x38] = 0x8100;
        _card[Ctrl] = 1 << 30;
        var frame = Frame(Mac);
        byte[] tagged = [.. frame[..12], 0x81, 0x00, 0x20, 0x07, .. frame[12..]];
        _card.QueueLegacy(frame, command: 0x49, special: 0x2007);
        _card.Kick();
        Assert.Equal(tagged, _card.Network.Sent[0].Frame);

        _card[Rctl] = Enable | Strip;
        _card.Network.Bring(tagged);
        var received = _card.Received()!.Value;
        Assert.Equal(frame, received.Bytes);
        Assert.Equal(0x2007, received.Special);
        Assert.Equal(8, received.Status & 8);

        _card[Rctl] = Enable | Strip | VlanFilter;
        _card.Network.Bring(tagged);
        Assert.Null(_card.Received());
        _card[Vfta] = 1 << 7;
        _card.Network.Bring(tagged);
        Assert.NotNull(_card.Received());
    }

    [Fact]
    public void Checked_frames_say_so_if_the_driver_asks()
    {
        var frame = Frame(Mac);
        frame[20] = frame[21] = 0;
        frame[23] = 6;
        _card[Rctl] = Enable;
        _card[Rxcsum] = 0x300;
        _card.Network.Bring(frame, new FrameOffload { Flags = FrameOffload.DataValid });
        Assert.Equal(0x63, _card.Received()!.Value.Status);
        _card.Network.Bring(frame);
        Assert.Equal(0x07, _card.Received()!.Value.Status);
    }

    [Fact]
    public void Interrupts_come_at_most_once_in_the_throttle_interval()
    {
        _card[Ims] = 0x80;
        _card[Itr] = 1000;
        _card.Board.Pass(Board.Second);
        _card[Ics] = 0x80;
        Assert.True(_card.Interrupted);
        _ = _card[Icr];
        _card[Ics] = 0x80;
        Assert.False(_card.Interrupted);
        _card.Board.Pass(255_000);
        Assert.False(_card.Interrupted);
        _card.Board.Pass(1_000);
        Assert.True(_card.Interrupted);
    }

    [Fact]
    public void Reset_forgets_what_the_driver_did_and_keeps_the_address()
    {
        _card[Ims] = 0x80;
        _card[Rctl] = Enable;
        _card[Ral] = 0;
        _card[Ctrl] = 1 << 26;
        Assert.Equal(0u, _card[Ims]);
        Assert.Equal(0u, _card[Rctl]);
        Assert.Equal(0u, _card[Tdbal]);
        Assert.Equal(BinaryPrimitives.ReadUInt32LittleEndian(Mac), _card[Ral]);
        Assert.Equal(0u, _card[Ctrl] & 1 << 26);
    }

    [Fact]
    public void The_port_window_shows_the_registers()
    {
        var port = (ushort)(_card.Machine.ReadPci(_card.Device, 0x18, 4) & ~3u);
        _card.Board.Ports.Write(port, 4, Ims);
        _card.Board.Ports.Write((ushort)(port + 4), 4, 0x80);
        Assert.Equal(0x80u, _card[Ims]);
        Assert.Equal(0x80u, _card.Board.Ports.Read((ushort)(port + 4), 4));
    }

    [Fact]
    public void Loopback_brings_back_what_is_sent()
    {
        var frame = Frame(Mac);
        _card[Rctl] = Enable | Strip | 3 << 6;
        _card.QueueLegacy(frame);
        _card.Kick();
        Assert.Empty(_card.Network.Sent);
        Assert.Equal(frame, _card.Received()!.Value.Bytes);
    }

    [Fact]
    public void Without_bus_mastering_memory_is_left_alone()
    {
        _card[Rctl] = Enable;
        _card.Machine.WritePci(_card.Device, 4, 2, 3);
        var index = _card.QueueLegacy(Frame(s_other));
        _card.Kick();
        Assert.Empty(_card.Network.Sent);
        Assert.True(_card.Network.Bring(Frame(Mac)));
        Assert.Null(_card.Received());
        _card.Machine.WritePci(_card.Device, 4, 2, 7);
        Assert.Single(_card.Network.Sent);
        Assert.Equal(1, _card.TransmitStatus(index));
    }

    [Fact]
    public void The_state_survives_a_round_trip_in_the_middle_of_a_frame()
    {
        var frame = Frame(s_other);
        _card[Rctl] = Enable;
        _card[Ims] = 0x80;
        _card.Network.Bring(Frame(Mac));
        _card.QueueLegacy(frame.AsSpan(0, 50), command: 0);
        _card.Kick();
        var state = _card.Card.Save();
        using var copy = new E1000(_card.Machine.Memory, _card.Network, _card.Board.Clock, Mac);
        _card.Machine.Pci.Attach(copy.Function);
        copy.Restore(state);
        Assert.True(copy.Function.Interrupt);
        _card.QueueLegacy(frame.AsSpan(50));
        copy.WriteMmio(Tdt, 4, 2);
        Assert.Equal(frame, Assert.Single(_card.Network.Sent).Frame);
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Registers = [] }));
    }

    private static int Sum(ReadOnlySpan<byte> bytes)
    {
        var sum = 0;
        for (var i = 0; i < bytes.Length; i++)
            sum += bytes[i] << (i % 2 == 0 ? 8 : 0);
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return ~sum & 0xFFFF;
    }
}
