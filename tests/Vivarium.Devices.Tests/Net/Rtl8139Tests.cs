using System.Buffers.Binary;
using static Vivarium.Devices.Tests.E1000Machine;
using static Vivarium.Devices.Tests.Rtl8139Machine;

namespace Vivarium.Devices.Tests;

/// <summary>The card as its data sheet says that drivers use it.</summary>
public sealed class Rtl8139Tests : IDisposable
{
    private static readonly byte[] s_broadcast = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    private static readonly byte[] s_other = [0x52, 0x54, 0, 9, 9, 9];
    private static readonly byte[] s_mac = Rtl8139Machine.Mac;

    private readonly Rtl8139Machine _card = new();

    public void Dispose() => _card.Dispose();

    [Fact]
    public void It_tells_who_it_is_in_configuration_space_registers_and_EEPROM()
    {
        Assert.Equal(0x8139_10ECu, _card.Machine.ReadPci(_card.Device, 0, 4));
        Assert.Equal(0x0200_0020u, _card.Machine.ReadPci(_card.Device, 8, 4));
        Assert.Equal(0x7480_0000u, _card.Dword(Tcr) & 0x7CC0_0000);
        Assert.Equal(s_mac, Enumerable.Range(0, 6).Select(_card.Byte));
        Assert.Equal(0x8129, ReadEeprom(0, addressBits: 6));
        Assert.Equal([0x5452, 0x1200, 0x5634], Enumerable.Range(7, 3).Select(word => ReadEeprom(word, addressBits: 6)));

        // A driver that takes it for the larger kind sees that it is not.
        Assert.NotEqual(0x8129, ReadEeprom(0, addressBits: 8));
    }

    [Fact]
    public void Ports_and_memory_lead_to_the_same_registers()
    {
        _card.Dword(Mar, 0x1234_5678);
        Assert.Equal(0x1234_5678u, _card.Board.Ports.Read(Ports + Mar, 4));
        _card.Board.Ports.Write(Ports + Mar + 1, 1, 0xAB);
        Assert.Equal(0x1234_AB78u, _card.Dword(Mar));
        Assert.Equal(0xAB78, _card.Word(Mar));
        _card.Board.Mmio.Write(Rtl8139Machine.Registers + Mar, 8, 0x0102_0304_0506_0708);
        Assert.Equal(0x0102_0304_0506_0708ul, _card.Board.Mmio.Read(Rtl8139Machine.Registers + Mar, 8));
    }

    [Fact]
    public void Configuration_registers_are_locked_and_a_reset_leaves_the_address()
    {
        var before = _card.Byte(Config1);
        _card.Byte(Config1, before ^ 0x10);
        Assert.Equal(before, _card.Byte(Config1));
        _card.Byte(Cr9346, 0xC0);
        _card.Byte(Config1, before ^ 0x10);
        Assert.Equal(before ^ 0x10, _card.Byte(Config1));
        _card.Dword(Idr, 0x0403_0201);
        _card.Word(Imr, 0xFFFF);
        _card.Byte(Cr, 0x10);
        Assert.Equal(0x01, _card.Byte(Cr) & 0x1D);
        Assert.Equal(0, _card.Word(Imr));
        Assert.Equal(0x0403_0201u, _card.Dword(Idr));

        // The EEPROM has the old one.
        _card.Byte(Cr9346, 0x40);
        Assert.Equal(0, _card.Byte(Cr9346) & 0xC0);
        Assert.Equal(s_mac, Enumerable.Range(0, 6).Select(_card.Byte));
    }

    [Fact]
    public void The_transceiver_has_a_link_and_negotiates_again()
    {
        Assert.Equal(0x24, _card.Word(Bmsr) & 0x24);
        Assert.Equal(0, _card.Byte(0x58) & 4);
        _card.Word(Imr, 0x20);
        _card.Word(Bmcr, 0x1200);
        Assert.True(_card.Interrupted);
        Assert.Equal(0x1000, _card.Word(Bmcr));
        _card.Word(Isr, 0x20);
        Assert.False(_card.Interrupted);
        _card.Word(Bmcr, 0x8000);
        Assert.Equal(0x3100, _card.Word(Bmcr));
    }

    [Fact]
    public void Four_transmit_registers_send_in_turn()
    {
        _card.StartClassic();
        _card.Word(Imr, 0x04);
        Assert.Equal(0x2000u, _card.Dword(Tsd));
        Assert.Equal(0x0F, _card.Word(Tsads));
        for (var i = 0; i < 6; i++)
        {
            var frame = Frame(s_other, 100 + i);
            _card.Dword(Tsad + i % 4 * 4, (uint)_card.Machine.Put(frame));
            _card.Dword(Tsd + i % 4 * 4, (uint)frame.Length | 0x0003_0000);
            Assert.Equal(frame, _card.Network.Sent[i].Frame);
            Assert.Equal(0xA000u | (uint)frame.Length, _card.Dword(Tsd + i % 4 * 4) & 0xFFFF);
            Assert.True(_card.Interrupted);
            _card.Word(Isr, 0x04);
            Assert.False(_card.Interrupted);
        }

        Assert.Equal(0xF00F, _card.Word(Tsads));

        // Short ones are filled up.
        _card.Dword(Tsad + 8, (uint)_card.Machine.Put(Frame(s_other, 20)));
        _card.Dword(Tsd + 8, 20);
        Assert.Equal(60, _card.Network.Sent[6].Frame.Length);
    }

    [Fact]
    public void Nothing_is_sent_before_the_transmitter_and_the_bus_are_enabled()
    {
        _card.Machine.WritePci(_card.Device, 0x04, 2, 3);
        var frame = Frame(s_other);
        _card.Dword(Tsad, (uint)_card.Machine.Put(frame));
        _card.Dword(Tsd, (uint)frame.Length);
        Assert.Empty(_card.Network.Sent);
        _card.Byte(Cr, 0x04);
        Assert.Empty(_card.Network.Sent);
        _card.Machine.WritePci(_card.Device, 0x04, 2, 7);
        Assert.Single(_card.Network.Sent);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(3, true)]
    public void The_ring_buffer_takes_frames_round_and_round(int lengthCode, bool wrap)
    {
        _card.StartClassic(lengthCode, wrap);
        _card.Word(Imr, 0x01);
        var length = 8192 << lengthCode;
        var hasRoomBehind = wrap && lengthCode != 3;
        var place = 0;
        Assert.Equal(1, _card.Byte(Cr) & 1);
        for (var i = 0; i < 200; i++)
        {
            var frame = Frame(i % 3 == 0 ? s_broadcast : s_mac, 60 + i * 7);
            Assert.True(_card.Network.Bring(frame));
            Assert.True(_card.Interrupted);
            _card.Word(Isr, 0x01);
            Assert.Equal(0, _card.Byte(Cr) & 1);
            var header = Ring(place, 4);
            Assert.Equal(i % 3 == 0 ? 0x2001 : 0x4001, BinaryPrimitives.ReadUInt16LittleEndian(header));
            Assert.Equal(frame.Length + 4, BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(2)));
            Assert.Equal(frame, Ring(place + 4, frame.Length));
            place = (place + frame.Length + 8 + 3 & ~3) % length;
            Assert.Equal(place, _card.Word(Cbr));
            _card.Word(Capr, place - 16);
            Assert.Equal(1, _card.Byte(Cr) & 1);
        }

        byte[] Ring(int from, int count)
        {
            if (hasRoomBehind)
                return _card.Machine.Get(_card.Buffer + (ulong)from, count);
            return [.. Enumerable.Range(from, count).Select(offset => _card.Machine.Get(_card.Buffer + (ulong)(offset % length), 1)[0])];
        }
    }

    [Fact]
    public void A_full_ring_buffer_makes_frames_wait_until_the_guest_has_read()
    {
        _card.StartClassic();
        _card.Word(Imr, 0x10);
        var frame = Frame(s_mac, 1000);
        var taken = 0;
        while (_card.Network.Bring(frame))
            taken++;
        Assert.Equal(8, taken);
        Assert.True(_card.Interrupted);
        _card.Word(Isr, 0x10);
        Assert.False(_card.Network.Bring(frame));
        Assert.False(_card.Interrupted);
        var calls = _card.Network.ReadyCalls;
        _card.Word(Capr, 1008 - 16);
        Assert.Equal(calls, _card.Network.ReadyCalls);
        _card.Board.Pass(100_000);
        Assert.Equal(calls + 1, _card.Network.ReadyCalls);
        Assert.True(_card.Network.Bring(frame));
    }

    /// <summary>
    /// Linux's 8139too moves on in the ring, acknowledges, and stops after so many frames if nothing is left to acknowledge: a frame that
    /// came between the two would be forgotten.
    /// </summary>
    [Fact]
    public void A_frame_that_waits_comes_after_the_acknowledgement_of_the_one_before()
    {
        _card.StartClassic();
        var frame = Frame(s_mac, 1000);
        while (_card.Network.Bring(frame))
        {
        }

        _card.Network.Ready = () => _card.Network.Bring(frame);
        _card.Word(Capr, 1008 - 16);
        Assert.Equal(0x11, _card.Word(Isr));
        _card.Word(Isr, 0x51);
        Assert.Equal(0x01, _card.Word(Isr));
    }

    [Fact]
    public void A_full_ring_buffer_is_told_of_again_while_a_frame_waits()
    {
        _card.StartClassic();
        var frame = Frame(s_mac, 1000);
        while (_card.Network.Bring(frame))
        {
        }

        _card.Network.Ready = () => _card.Network.Bring(frame);
        _card.Word(Imr, 0x10);
        _card.Word(Isr, 0xFFFF);
        Assert.False(_card.Interrupted);
        _card.Board.Pass(20_000_000);
        Assert.True(_card.Interrupted);
    }

    [Fact]
    public void Addresses_are_filtered()
    {
        _card.StartClassic();
        Assert.False(Takes(s_other));
        Assert.True(Takes(s_mac));
        Assert.True(Takes(s_broadcast));

        // 01:00:5E:00:00:01 is bit 31 of the hash, as its check sequence says.
        byte[] multicast = [0x01, 0x00, 0x5E, 0x00, 0x00, 0x01];
        Assert.False(Takes(multicast));
        _card.Dword(Rcr, 0x0E);
        Assert.False(Takes(multicast));
        _card.Dword(Mar, 1u << 31);
        Assert.True(Takes(multicast));
        _card.Dword(Rcr, 0x01);
        Assert.True(Takes(s_other));
        Assert.False(Takes(s_broadcast));

        bool Takes(byte[] destination)
        {
            var before = _card.Word(Cbr);
            Assert.True(_card.Network.Bring(Frame(destination, 60)));
            return _card.Word(Cbr) != before;
        }
    }

    [Fact]
    public void Descriptors_send_frames_in_pieces_and_come_back()
    {
        _card.StartPlus();
        _card.Word(Imr, 0x04);
        var frame = Frame(s_other, 300);
        _card.Queue(0, frame.AsSpan(0, 100), First);
        _card.Queue(1, frame.AsSpan(100), Last);
        _card.Queue(2, Frame(s_mac), First | Last);
        _card.Queue(3, Frame(s_broadcast), First | Last);
        Assert.Empty(_card.Network.Sent);
        _card.Byte(Tppoll, 0x40);
        Assert.Equal([frame, Frame(s_mac), Frame(s_broadcast)], _card.Network.Sent.Select(sent => sent.Frame));
        Assert.True(_card.Interrupted);
        Assert.Equal(0x84, _card.Word(Isr));
        Assert.Equal(First, _card.TransmitControl(0));
        Assert.Equal(Last, _card.TransmitControl(1));
        Assert.Equal(First | Last | End, _card.TransmitControl(3));

        // The ring goes on at its beginning.
        _card.Queue(0, Frame(s_mac), First | Last);
        _card.Byte(Tppoll, 0x40);
        Assert.Equal(4, _card.Network.Sent.Count);
    }

    [Fact]
    public void The_high_priority_ring_goes_first()
    {
        _card.StartPlus();
        var high = _card.Machine.Allocate(64, 256);
        _card.Dword(0x28, (uint)high);
        _card.Machine.Memory.Write(high + 8, _card.Machine.Put(Frame(s_broadcast)));
        _card.Machine.Memory.Write(high, Own | End | First | Last | 100);
        _card.Queue(0, Frame(s_mac), First | Last);
        _card.Byte(Tppoll, 0xC0);
        Assert.Equal([Frame(s_broadcast), Frame(s_mac)], _card.Network.Sent.Select(sent => sent.Frame));
    }

    [Fact]
    public void A_tag_is_put_in_when_sending_and_taken_out_when_receiving()
    {
        _card.StartPlus(features: 0x40);
        var frame = Frame(s_mac);
        _card.Queue(0, frame, First | Last, tag: 1 << 17 | 0x3412);
        _card.Byte(Tppoll, 0x40);
        var sent = _card.Network.Sent[0].Frame;
        Assert.Equal([.. frame[..12], 0x81, 0x00, 0x12, 0x34, .. frame[12..]], sent);
        Assert.True(_card.Network.Bring(sent));
        var (control, tag, bytes) = _card.Received(0, frame.Length);
        Assert.Equal(frame, bytes);
        Assert.Equal((uint)frame.Length + 4, control & 0x1FFF);
        Assert.Equal(0x1_3412u, tag);
    }

    [Fact]
    public void Descriptors_receive_frames_whole_or_in_pieces()
    {
        _card.StartPlus(bufferLength: 128);
        _card.Word(Imr, 0x01);
        Assert.True(_card.Network.Bring(Frame(s_mac, 100)));
        Assert.True(_card.Interrupted);
        var (control, _, bytes) = _card.Received(0, 100);
        Assert.Equal(First | Last | 1 << 25 | 104, control);
        Assert.Equal(Frame(s_mac, 100), bytes);
        Assert.True(_card.Network.Bring(Frame(s_broadcast, 200)));
        Assert.Equal(First | 1 << 24 | 204, _card.Received(1, 0).Control);
        Assert.Equal(Last | 1 << 24 | 204, _card.Received(2, 0).Control);
        Assert.Equal(Frame(s_broadcast, 200), (byte[])[.. _card.Received(1, 128).Bytes, .. _card.Received(2, 72).Bytes]);

        // One descriptor is left, and two are needed.
        Assert.False(_card.Network.Bring(Frame(s_mac, 200)));
        Assert.Equal(0x11, _card.Word(Isr) & 0x11);
        for (var i = 0; i < 3; i++)
            _card.GiveBuffer(i, 128);
        Assert.True(_card.Network.Bring(Frame(s_mac, 200)));
        Assert.Equal(First | End | 1 << 25 | 204, _card.Received(3, 0).Control);
        Assert.Equal(Last | 1 << 25 | 204, _card.Received(0, 0).Control);
    }

    /// <summary>Descriptors come back without a word to the card.</summary>
    [Fact]
    public void A_frame_without_room_is_tried_again_by_itself()
    {
        _card.StartPlus();
        for (var i = 0; i < Descriptors; i++)
            Assert.True(_card.Network.Bring(Frame(s_mac)));
        Assert.False(_card.Network.Bring(Frame(s_mac)));
        var calls = _card.Network.ReadyCalls;
        _card.Board.Pass(20_000_000);
        Assert.True(_card.Network.ReadyCalls > calls);
    }

    [Fact]
    public void What_is_looped_back_does_not_leave()
    {
        _card.StartPlus();
        _card.Dword(Tcr, 3 << 17);
        _card.Queue(0, Frame(s_mac), First | Last);
        _card.Byte(Tppoll, 0x40);
        Assert.Empty(_card.Network.Sent);
        Assert.Equal(Frame(s_mac), _card.Received(0, 100).Bytes);
    }

    [Fact]
    public void Counters_are_dumped_to_memory()
    {
        _card.StartPlus();
        _card.Queue(0, Frame(s_mac), First | Last);
        _card.Byte(Tppoll, 0x40);
        _card.Network.Bring(Frame(s_mac));
        _card.Network.Bring(Frame(s_broadcast));
        var block = _card.Machine.Allocate(64, 64);
        _card.Dword(0x14, 0);
        _card.Dword(0x10, (uint)block | 8);
        Assert.Equal((uint)block, _card.Dword(0x10));
        Assert.Equal([1, 2, 0, 0, 0, 1, 1, 0], Enumerable.Range(0, 8).Select(i => (int)_card.Machine.Memory.Read<ulong>(block + (ulong)i * 8)));
    }

    [Fact]
    public void The_timer_counts_the_bus_clock_and_interrupts()
    {
        _card.Word(Imr, 0x4000);
        _card.Dword(Tctr, 0);
        _card.Dword(TimerInt, 33_000);
        _card.Board.Pass(900_000);
        Assert.InRange(_card.Dword(Tctr), 29_600u, 29_800u);
        Assert.False(_card.Interrupted);
        _card.Board.Pass(200_000);
        Assert.True(_card.Interrupted);
        Assert.Equal(0x4000, _card.Word(Isr));
        _card.Word(Isr, 0x4000);
        _card.Board.Pass(2_000_000);
        Assert.False(_card.Interrupted);
    }

    [Fact]
    public void A_guest_can_interrupt_itself()
    {
        _card.Word(Imr, 0x100);
        _card.Byte(Tppoll, 0x01);
        Assert.True(_card.Interrupted);
    }

    /// <summary>What cannot be given back to the guest must not be sent again and again.</summary>
    [Fact]
    public void A_ring_that_is_not_in_RAM_is_not_used()
    {
        _card.StartPlus();
        _card.Dword(Tsad, (uint)VirtioMachine.RomStart);
        _card.Byte(Tppoll, 0x40);
        Assert.Empty(_card.Network.Sent);
        Assert.Equal(0x8000, _card.Word(Isr));
    }

    [Fact]
    public void Its_state_goes_on_in_another_card()
    {
        _card.StartPlus();
        _card.Word(Imr, 0x01);
        var frame = Frame(s_other, 200);
        _card.Queue(0, frame.AsSpan(0, 100), First);
        _card.Byte(Tppoll, 0x40);
        _card.Network.Bring(Frame(s_mac));
        using var other = new Rtl8139Machine();
        other.Card.Restore(_card.Card.Save());
        Assert.True(other.Interrupted);
        Assert.Equal(_card.Dword(Tsad), other.Dword(Tsad));
        other.Queue(1, frame.AsSpan(100), Last);
        other.Byte(Tppoll, 0x40);
        Assert.Equal(frame, Assert.Single(other.Network.Sent).Frame);
        other.Machine.Memory.Write(other.ReceiveRing + 24, other.Machine.Allocate(2048));
        other.GiveBuffer(1);
        Assert.True(other.Network.Bring(Frame(s_mac)));
        Assert.Equal(Frame(s_mac), other.Received(1, 100).Bytes);
    }

    private int ReadEeprom(int address, int addressBits)
    {
        const int mode = 0x80, select = 8, clock = 4, data = 2;
        _card.Byte(Cr9346, mode);
        _card.Byte(Cr9346, mode | select);
        var command = 6 << addressBits | address;
        for (var bit = addressBits + 2; bit >= 0; bit--)
            Clock((command >> bit & 1) != 0 ? data : 0);
        var value = 0;
        for (var bit = 0; bit < 16; bit++)
        {
            Clock(0);
            value = value << 1 | _card.Byte(Cr9346) & 1;
        }

        _card.Byte(Cr9346, 0);
        return value;

        void Clock(int bit)
        {
            _card.Byte(Cr9346, mode | select | bit);
            _card.Byte(Cr9346, mode | select | bit | clock);
        }
    }
}
