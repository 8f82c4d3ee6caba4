namespace Vivarium.Devices.Tests;

/// <summary>A keyboard and a mouse on the controller, seen through its ports as a driver sees them.</summary>
public sealed class Ps2Tests
{
    private const long Millisecond = Board.Millisecond;

    private readonly Board _board = new();
    private readonly InterruptLine _irq1;
    private readonly InterruptLine _irq12;
    private readonly A20Gate _a20 = new();
    private readonly Ps2Keyboard _keyboard;
    private readonly Ps2Mouse _mouse = new();
    private readonly I8042 _controller;

    public Ps2Tests()
    {
        _irq1 = _board.Interrupts.CreateIsaLine(I8042.KeyboardIrq);
        _irq12 = _board.Interrupts.CreateIsaLine(I8042.AuxiliaryIrq);
        _keyboard = new Ps2Keyboard(_board.Clock);
        _controller = new I8042(_irq1, _irq12, _a20, _keyboard, _mouse);
        _controller.Map(_board.Ports);

        // Interrupts on, translation off.
        Command(0x60, 0x07);
    }

    private byte Status => _board.In(0x64);

    private void Command(byte command, params byte[] data)
    {
        _board.Out(0x64, command);
        foreach (var value in data)
            _board.Out(0x60, value);
    }

    private void Press(Key key)
    {
        _keyboard.SetKey(key, true);
        _keyboard.SetKey(key, false);
    }

    /// <summary>All that there is to read.</summary>
    private string Read()
    {
        var bytes = new List<byte>();
        while ((Status & 1) != 0)
            bytes.Add(_board.In(0x60));
        return Convert.ToHexString([.. bytes]);
    }

    private string Keyboard(params byte[] bytes)
    {
        foreach (var value in bytes)
            _board.Out(0x60, value);
        return Read();
    }

    private string Mouse(params byte[] bytes)
    {
        foreach (var value in bytes)
            Command(0xD4, value);
        return Read();
    }

    [Theory]
    [InlineData(1, Key.A, "1E9E")]
    [InlineData(2, Key.A, "1CF01C")]
    [InlineData(3, Key.A, "1CF01C")]
    [InlineData(1, Key.F7, "41C1")]
    [InlineData(2, Key.F7, "83F083")]
    [InlineData(1, Key.RightControl, "E01DE09D")]
    [InlineData(2, Key.RightControl, "E014E0F014")]
    [InlineData(3, Key.RightControl, "58F058")]
    [InlineData(1, Key.Delete, "E053E0D3")]
    [InlineData(2, Key.Delete, "E071E0F071")]
    [InlineData(1, Key.PrintScreen, "E02AE037E0B7E0AA")]
    [InlineData(2, Key.PrintScreen, "E012E07CE0F07CE0F012")]
    [InlineData(1, Key.Pause, "E11D45E19DC5")]
    [InlineData(2, Key.Pause, "E11477E1F014F077")]
    [InlineData(3, Key.Pause, "62F062")]
    [InlineData(2, Key.None, "")]
    [InlineData(3, (Key)0x7F, "")]
    public void A_key_sends_its_codes_in_each_set(int set, Key key, string codes)
    {
        Assert.Equal("FAFA", Keyboard(0xF0, (byte)set));

        // In set 3 not every key tells when it goes up, unless it is asked to.
        Assert.Equal("FA", Keyboard(0xF8));
        Press(key);
        Assert.Equal(codes, Read());
    }

    [Fact]
    public void The_controller_translates_every_key_to_set_1()
    {
        Command(0x60, 0x47);
        foreach (var key in Enum.GetValues<Key>())
        {
            if (key is Key.None or Key.Pause or Key.PrintScreen)
                continue;
            var (prefix, code) = ((byte)key >= 0x80 ? "E0" : "", (byte)key & 0x7F);
            Press(key);
            Assert.Equal($"{prefix}{code:X2}{prefix}{code | 0x80:X2}", Read());
        }

        Press(Key.Pause);
        Assert.Equal("E11D45E19DC5", Read());
    }

    [Fact]
    public void Modifiers_change_what_two_keys_send()
    {
        Command(0x60, 0x47);
        _keyboard.SetKey(Key.LeftControl, true);
        Press(Key.Pause);
        Assert.Equal("1DE046E0C6", Read());
        _keyboard.SetKey(Key.LeftControl, false);
        _keyboard.SetKey(Key.RightAlt, true);
        Press(Key.PrintScreen);
        Assert.Equal("9DE03854D4", Read());
    }

    [Fact]
    public void Each_byte_is_an_interrupt_of_its_own()
    {
        _board.InitializePic();
        Press(Key.A);
        Assert.True(_irq1.Level);
        Assert.Equal(1, Status & 0x21);
        Assert.Equal(0x21, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(0x1C, _board.In(0x60));
        Assert.True(_irq1.Level);
        _board.Out(0x20, 0x20);
        Assert.Equal(0x21, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal("F01C", Read());
        Assert.False(_irq1.Level);
    }

    [Fact]
    public void A_held_key_repeats_at_the_rate_that_the_system_sets()
    {
        _keyboard.SetKey(Key.A, true);
        Assert.Equal("1C", Read());
        _board.Run(499 * Millisecond);
        Assert.Equal("", Read());
        _board.Run(2 * Millisecond);
        Assert.Equal("1C", Read());

        // A guest that does not read gets no pile of them.
        _board.Run(1000 * Millisecond);
        Assert.Equal("1C1C", Read());
        _keyboard.SetKey(Key.A, false);
        Assert.Equal("F01C", Read());
        _board.Run(1000 * Millisecond);
        Assert.Equal("", Read());

        // 250 ms, 30 per second.
        Assert.Equal("FAFA", Keyboard(0xF3, 0x00));
        _keyboard.SetKey(Key.B, true);
        var count = 0;
        for (var i = 0; i < 1250; i++)
        {
            _board.Run(Millisecond);
            count += Read().Length / 2;
        }

        Assert.Equal(32, count);
    }

    [Fact]
    public void Keys_beyond_the_buffer_are_lost_with_a_mark()
    {
        for (var i = 0; i < 10; i++)
            Press(Key.A);
        Assert.Equal("1CF01C1CF01C1CF01C1CF01C1CF01C" + "1C00", Read());
        Press(Key.B);
        Assert.EndsWith("32F032", Read());
    }

    [Fact]
    public void Keyboard_commands_are_answered()
    {
        Assert.Equal("FAAB83", Keyboard(0xF2));
        Assert.Equal("EE", Keyboard(0xEE));
        Assert.Equal("FAFA", Keyboard(0xED, 0x05));
        Assert.Equal(5, _keyboard.Indicators);
        Assert.Equal("FAFA02", Keyboard(0xF0, 0x00));
        Assert.Equal("FAFE", Keyboard(0xF0, 0x04));
        Assert.Equal("FE", Keyboard(0x42));
        Assert.Equal("FE", Keyboard(0xFE));
        Assert.Equal("FA", Keyboard(0xF5));
        Press(Key.A);
        Assert.Equal("", Read());
        Assert.Equal("FA", Keyboard(0xF4));
        Press(Key.A);
        Assert.Equal("1CF01C", Read());
        Assert.Equal("FAAA", Keyboard(0xFF));

        // A command where a value is due is a command.
        Assert.Equal("FAFAAB83", Keyboard(0xED, 0xF2));
    }

    [Fact]
    public void Set_3_can_change_how_each_key_behaves()
    {
        _ = Keyboard(0xF0, 0x03);
        Press(Key.F1);
        Press(Key.LeftShift);
        Assert.Equal("0712F012", Read());
        Assert.Equal("FAFAFA", Keyboard(0xFC, 0x07, 0x0F));
        Assert.Equal("FA", Keyboard(0xF4));
        Press(Key.F1);
        Assert.Equal("07F007", Read());
    }

    [Fact]
    public void A_disabled_interface_keeps_its_device_waiting()
    {
        Command(0xAD);
        Press(Key.A);
        Assert.Equal("", Read());
        Command(0xAE);
        Assert.Equal("1CF01C", Read());
    }

    [Fact]
    public void Mouse_commands_are_answered()
    {
        Assert.Equal("FAAA00", Mouse(0xFF));
        Assert.Equal("FA00", Mouse(0xF2));
        Assert.Equal("FA000264", Mouse(0xE9));
        Assert.Equal("FAFA" + "FAFA" + "FA" + "FA", Mouse(0xE8, 3) + Mouse(0xF3, 40) + Mouse(0xE7) + Mouse(0xF4));
        Assert.Equal("FA300328", Mouse(0xE9));
        Assert.Equal("FE", Mouse(0x42));
        Assert.Equal("FAFE", Mouse(0xE8, 9));
        Assert.Equal("FA", Mouse(0xEE));
        Assert.Equal("F2", Mouse(0xF2));
        Assert.Equal("FA", Mouse(0xEC));
        Assert.Equal("FA", Mouse(0xF6));
    }

    [Fact]
    public void Motions_come_as_packets_of_three_bytes()
    {
        _mouse.Move(5, 5, 0, PointerButtons.None);
        Assert.Equal("", Read());
        _ = Mouse(0xF4);
        _mouse.Move(5, 3, 1, PointerButtons.Left);
        Assert.True(_irq12.Level);
        Assert.Equal(0x21, Status & 0x21);

        // Down is negative.
        Assert.Equal("2905FD", Read());
        _mouse.Move(-300, 0, 0, PointerButtons.Left);
        Assert.Equal("190100" + "19D300", Read());
    }

    [Fact]
    public void Motions_add_up_but_clicks_are_kept()
    {
        _ = Mouse(0xF4);
        _mouse.Move(1, 0, 0, PointerButtons.None);
        _mouse.Move(1, 0, 0, PointerButtons.None);
        _mouse.Move(1, 0, 0, PointerButtons.None);
        _mouse.Move(0, 0, 0, PointerButtons.Right);
        _mouse.Move(0, 0, 0, PointerButtons.None);
        Assert.Equal("080100" + "080200" + "0A0000" + "080000", Read());
    }

    [Fact]
    public void Sample_rates_make_it_an_IntelliMouse_and_an_Explorer()
    {
        Assert.Equal("FAFAFAFAFAFA", Mouse(0xF3, 200) + Mouse(0xF3, 100) + Mouse(0xF3, 80));
        Assert.Equal("FA03", Mouse(0xF2));
        _ = Mouse(0xF4);
        _mouse.Move(0, 0, -1, PointerButtons.Middle);
        Assert.Equal("0C0000FF", Read());
        _ = Mouse(0xF3, 200) + Mouse(0xF3, 200) + Mouse(0xF3, 80);
        Assert.Equal("FA04", Mouse(0xF2));
        _mouse.Move(0, 0, 1, PointerButtons.Back);
        Assert.Equal("08000011", Read());
        _ = Mouse(0xFF);
        Assert.Equal("FA00", Mouse(0xF2));
    }

    [Fact]
    public void A_mouse_in_remote_mode_speaks_when_it_is_asked()
    {
        _ = Mouse(0xF0);
        _mouse.Move(7, 0, 0, PointerButtons.None);
        Assert.Equal("", Read());
        Assert.Equal("FA080700", Mouse(0xEB));
        Assert.Equal("FA080000", Mouse(0xEB));
    }

    [Fact]
    public void Address_line_20_follows_the_output_port_and_port_92()
    {
        var changes = new List<bool>();
        _a20.Changed = () => changes.Add(_a20.IsOpen);
        new SystemControlPort(_a20).Map(_board.Ports);
        Command(0xD1, 0xDD);
        Assert.Equal(0, _board.In(0x92) & 2);
        _board.Out(0x92, 2);
        Command(0xD0);
        Assert.Equal(2, _board.In(0x60) & 2);
        Command(0xDD);
        Command(0xDF);
        Command(0xD1, 0xDF);
        Assert.Equal([false, true, false, true], changes);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        _ = Mouse(0xF4) + Keyboard(0xF0, 0x01);
        _keyboard.SetKey(Key.A, true);
        _mouse.Move(1, 2, 0, PointerButtons.Left);
        _mouse.Move(1, 2, 0, PointerButtons.None);
        var state = _controller.Save();
        var keyboard = new Ps2Keyboard(_board.Clock);
        var copy = new I8042(_board.Interrupts.CreateIsaLine(1), _board.Interrupts.CreateIsaLine(12), new A20Gate(), keyboard, new Ps2Mouse());
        copy.Restore(state);
        keyboard.SetKey(Key.A, false);
        var bytes = new List<byte>();
        while ((copy.ReadPort(4, 1) & 1) != 0)
            bytes.Add((byte)copy.ReadPort(0, 1));
        Assert.Equal("1E9E" + "2901FE" + "2801FE", Convert.ToHexString([.. bytes]));
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Keyboard = null }));
    }

    [Fact]
    public void Nonsense_of_200_000_cases_does_no_harm()
    {
        var random = new Random(3);
        for (var i = 0; i < 200_000; i++)
        {
            switch (random.Next(8))
            {
                case 0 or 1:
                    _board.Out(0x60, (byte)random.Next(256));
                    break;
                case 2:
                    _board.Out(0x64, random.Next(2) == 0 ? (byte)0xD4 : (byte)random.Next(256));
                    break;
                case 3:
                    _board.In((ushort)(random.Next(2) == 0 ? 0x60 : 0x64));
                    break;
                case 4:
                    _keyboard.SetKey((Key)random.Next(256), random.Next(2) == 0);
                    break;
                case 5:
                    _mouse.Move(random.Next(-1000, 1000), random.Next(int.MinValue, int.MaxValue), random.Next(-20, 20), (PointerButtons)random.Next(256));
                    break;
                case 6:
                    _board.Pass(random.Next(50_000_000));
                    break;
                default:
                    _board.In(0x60);
                    break;
            }
        }

        // Both are there again after their resets.
        Command(0xAA);
        _ = Read();
        Command(0x60, 0x07);
        _ = Mouse(0xFF);
        _ = Keyboard(0xFF);
        Assert.Equal("FAAA", Keyboard(0xFF));
        Assert.Equal("FAAA00", Mouse(0xFF));
    }
}
