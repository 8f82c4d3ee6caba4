namespace Vivarium.Devices.Tests;

/// <summary>Several processors' local APICs on one bus, software-enabled, and what each has told its processor.</summary>
internal sealed class Processors
{
    private const ulong InterruptCommandLow = 0x300;
    private const ulong InterruptCommandHigh = 0x310;
    private const uint X2ApicCommand = 0x830;
    private const uint X2ApicBase = 0x0C00;

    private readonly List<Recorder> _recorders = [];
    private readonly bool _x2Apic;

    public Processors(int count, bool x2Apic = false)
    {
        _x2Apic = x2Apic;
        Clock = new MachineClock(Time);
        Clock.Resume();
        for (var id = 0; id < count; id++)
        {
            var apic = new LocalApic((uint)id, Interrupts.Apics, Clock);
            _recorders.Add(new Recorder(apic));
            Apics.Add(apic);
            if (x2Apic)
                Assert.True(apic.WriteMsr(LocalApic.ApicBaseMsr, LocalApic.DefaultAddress | X2ApicBase));
            Write(id, 0xF0, 0x1FF);
        }
    }

    public ManualTime Time { get; } = new();

    public MachineClock Clock { get; }

    public InterruptRouter Interrupts { get; } = new();

    public List<LocalApic> Apics { get; } = [];

    /// <summary>Which processors have been told of an NMI so far.</summary>
    public IEnumerable<int> Nmis => Those(recorder => recorder.Nmis != 0);

    public IEnumerable<int> Inits => Those(recorder => recorder.Inits != 0);

    public IEnumerable<int> Startups => Those(recorder => recorder.Startups.Count != 0);

    public void Write(int processor, ulong register, uint value)
    {
        if (_x2Apic)
            Assert.True(Apics[processor].WriteMsr((uint)(LocalApic.FirstX2ApicMsr + (register >> 4)), value));
        else
            Apics[processor].WriteMmio(register, 4, value);
    }

    public void Send(int sender, uint destination, uint command)
    {
        if (_x2Apic)
        {
            Assert.True(Apics[sender].WriteMsr(X2ApicCommand, (ulong)destination << 32 | command));
            return;
        }

        Apics[sender].WriteMmio(InterruptCommandHigh, 4, destination << 24);
        Apics[sender].WriteMmio(InterruptCommandLow, 4, command);
    }

    /// <summary>Lets all processors take what they have; says who had <paramref name="vector"/> and ends it.</summary>
    public List<int> Take(int vector)
    {
        List<int> takers = [];
        for (var i = 0; i < Apics.Count; i++)
        {
            if (Apics[i].AcknowledgeInterrupt() is >= 0 and var taken)
            {
                Assert.Equal(vector, taken);
                Write(i, 0xB0, 0);
                takers.Add(i);
            }
        }

        return takers;
    }

    public byte Startup(int processor) => Assert.Single(_recorders[processor].Startups);

    private IEnumerable<int> Those(Predicate<Recorder> condition) => Enumerable.Range(0, _recorders.Count).Where(i => condition(_recorders[i]));

    private sealed class Recorder : ILocalApicEvents
    {
        public Recorder(LocalApic apic) => apic.Events = this;

        public int Nmis { get; private set; }

        public int Inits { get; private set; }

        public List<byte> Startups { get; } = [];

        public void InterruptRequested()
        {
        }

        public void NmiRequested() => Nmis++;

        public void InitRequested() => Inits++;

        public void StartupRequested(byte vector) => Startups.Add(vector);
    }
}
