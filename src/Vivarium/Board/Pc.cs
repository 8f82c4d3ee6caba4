using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Firmware;
using Vivarium.Memory;
using Vivarium.Networks;
using Vivarium.Shares;

namespace Vivarium.Board;

/// <summary>
/// A classic PC: memory, interrupt controllers, timers and devices, wired as PIIX-class boards are. It lives from
/// power-on to power-off or reset; a reset throws it away and builds the next, so that nothing can survive by mistake.
/// </summary>
internal sealed class Pc : IDisposable
{
    private readonly List<VirtioDevice> _virtio = [];
    private readonly PiixIde? _ide;
    private readonly InterruptLine _com1Line;

    public Pc(PlatformLayout layout, MachineParts parts, MachineConsole console, Action<byte> debugOutput, Action<CycleEnd> end)
    {
        Memory = CreateMemory(layout);
        Clock = new MachineClock();
        Interrupts = new InterruptRouter();
        LocalApics = [.. Enumerable.Range(0, layout.CpuCount).Select(id => new LocalApic((uint)id, Interrupts.Apics, Clock))];
        var coprocessor = new CoprocessorError(Interrupts.CreateIsaLine(CoprocessorError.Irq));
        coprocessor.Map(Ports);
        Buses = [.. LocalApics.Select(apic => new PcBus(Ports, Mmio, apic, coprocessor, end))];

        InterruptLine irq0 = Interrupts.CreateIsaLine(0);
        InterruptLine irq8 = Interrupts.CreateIsaLine(Rtc.Irq);
        void Reset() => end(new CycleEnd(CycleEndKind.Reset));

        Interrupts.Pic.Map(Ports);
        Interrupts.IoApic.Map(Mmio);
        new Pit8254(Clock, irq0).Map(Ports);
        new Rtc(Clock, irq8, layout.RamBelow4G, layout.RamAbove4G).Map(Ports);
        if (layout.HasHpet)
        {
            new Hpet(Clock, Interrupts, irq0, irq8).Map(Mmio);
        }

        PowerManagement = new AcpiPm(Clock, Interrupts.CreateIsaLine(AcpiPm.SciIrq)) { PowerOff = () => end(new CycleEnd(CycleEndKind.PowerOff)) };
        PowerManagement.Map(Ports);
        if (layout.HasKeyboardController)
        {
            new I8042(Interrupts.CreateIsaLine(I8042.KeyboardIrq), Interrupts.CreateIsaLine(I8042.AuxiliaryIrq)) { ResetRequested = Reset }.Map(Ports);
            new SystemControlPort { ResetRequested = Reset }.Map(Ports);
        }

        var pciHost = new PciHost(new ResetControl { ResetRequested = Reset });
        pciHost.Map(Ports);
        if (parts.Virtualization == Virtualization.Para)
        {
            // A guest can find them.
            new DebugConsole(debugOutput).Map(Ports);
            new DebugExit { ExitRequested = value => end(new CycleEnd(CycleEndKind.DebugExit, Value: value)) }.Map(Ports);
        }

        new PostCode().Map(Ports);

        _com1Line = Interrupts.CreateIsaLine(Uart16550.Com1Irq);
        var com1 = new Uart16550(_com1Line, console.Backend);
        com1.Map(Ports, Uart16550.Com1, "COM1");
        console.Attach(com1);
        var pci = new PciBus(pciHost, Mmio, Ports, Interrupts);
        _ide = PlugInIde(parts, pci);
        PlugIn(parts, new VirtioSlots(parts.Virtio, pci, Mmio, Interrupts));
        LocalApics[0].EnterVirtualWireMode();
    }

    public GuestMemory Memory { get; }

    public MachineClock Clock { get; }

    public InterruptRouter Interrupts { get; }

    /// <summary>One for each processor.</summary>
    public IReadOnlyList<LocalApic> LocalApics { get; }

    public AcpiPm PowerManagement { get; }

    /// <summary>Null if the machine is to have none.</summary>
    public VirtioBalloon? Balloon { get; private set; }

    public PortBus Ports { get; } = new();

    public MmioBus Mmio { get; } = new();

    /// <summary>What each processor sees of all this.</summary>
    public IReadOnlyList<PcBus> Buses { get; }

    /// <summary>
    /// Cuts the devices off from what the host still brings: afterwards none touches guest memory or asks for a processor's
    /// attention. The processors have ended before.
    /// </summary>
    public void Quiesce()
    {
        foreach (VirtioDevice device in _virtio)
        {
            device.Dispose();
        }

        _ide?.Dispose();
        _com1Line.Connected = false;
    }

    public void Dispose() => Memory.Dispose();

    /// <summary>The IDE controller: a classic PC has it in any case, others if there is a disk for it.</summary>
    private PiixIde? PlugInIde(MachineParts parts, PciBus pci)
    {
        AtaDevice?[] places = IdePlaces.Fill(Memory, parts);
        if (places.All(place => place is null) && parts.Virtualization == Virtualization.Para)
        {
            return null;
        }

        var ide = new PiixIde(Memory, Interrupts, places);
        pci.Attach(PiixIsaBridge.Device, 0, PiixIsaBridge.Create());
        pci.Attach(PiixIsaBridge.Device, PiixIde.FunctionNumber, ide.Function);
        ide.Map(Ports);
        return ide;
    }

    private void PlugIn(MachineParts parts, VirtioSlots slots)
    {
        void Attach(VirtioDevice device, string name, string what)
        {
            device.Broken = problem => parts.Warn($"{what}: the guest's driver broke the rules and has to reset the device: {problem}");
            slots.Attach(device, name);
            _virtio.Add(device);
        }

        foreach (MachineDisk disk in parts.Disks.Where(disk => disk.Bus == DiskBus.Virtio))
        {
            string what = $"disk '{disk.Spec.Path}'";
            Attach(new VirtioBlock(Memory, disk.Backend, disk.Serial, Math.Min(LocalApics.Count, VirtioBlock.MaxQueues)) { Failed = problem => parts.Warn($"{what}: {problem}") }, "virtio-blk", what);
        }

        Span<byte> mac = stackalloc byte[VirtioNet.MacLength];
        foreach (MachineNetwork network in parts.Networks)
        {
            network.Mac.CopyTo(mac);
            Attach(new VirtioNet(Memory, network.Backend, mac), "virtio-net", $"network card {network.Mac}");
        }

        foreach (MachineShare share in parts.Shares)
        {
            Attach(new VirtioFs(Memory, share.Backend, share.Spec.Tag), "virtio-fs", $"share '{share.Spec.Tag}'");
        }

        if (parts.HasConsoleDevice)
        {
            Attach(new VirtioConsole(Memory, [.. ConsolePorts(parts)]), "virtio-console", "virtio console");
        }

        if (parts.Vsock is { } vsock)
        {
            Attach(new VirtioVsock(Memory, vsock.Cid, vsock.Sockets), "virtio-vsock", "vsock");
        }

        if (parts.HasBalloon)
        {
            Balloon = new VirtioBalloon(Memory) { Target = parts.BalloonTarget };
            Attach(Balloon, "virtio-balloon", "memory balloon");
        }

        if (parts.HasEntropyDevice)
        {
            Attach(new VirtioRng(Memory), "virtio-rng", "entropy device");
        }
    }

    private static IEnumerable<VirtioConsolePort> ConsolePorts(MachineParts parts)
    {
        if (parts.VirtioConsole is { } console)
        {
            var port = new VirtioConsolePort(console.Backend);
            console.Attach(port);
            yield return port;
        }

        foreach ((string name, MachineConsole end) in parts.Ports)
        {
            var port = new VirtioConsolePort(end.Backend, name, isConsole: false);
            end.Attach(port);
            yield return port;
        }
    }

    private static GuestMemory CreateMemory(PlatformLayout layout)
    {
        try
        {
            var memory = new GuestMemory(layout.RamBelow4G + layout.RamAbove4G);
            memory.AddSlot(0, layout.RamBelow4G);
            if (layout.RamAbove4G != 0)
            {
                memory.AddSlot(PlatformLayout.HighRamStart, layout.RamAbove4G);
            }

            return memory;
        }
        catch (OutOfMemoryException e)
        {
            throw new VivariumException(e.Message, e);
        }
    }
}
