using Vivarium.Devices;
using Vivarium.Disks;
using Vivarium.Firmware;
using Vivarium.Firmware.Boot;
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
    /// <summary>What ROMs, flash and frame buffers may take; the host gives none of it before it is used.</summary>
    private const ulong DeviceMemory = 128 << 20;

    private const ulong LowRomLength = 128 << 10;

    /// <summary>The subsystem identity of the host bridge by which SeaBIOS and OVMF know a board that has the devices they ask.</summary>
    private static readonly (ushort Vendor, ushort Device) s_knownToFirmware = (0x1AF4, 0x1100);

    private readonly List<VirtioDevice> _virtio = [];
    private readonly List<IDisposable> _cards = [];
    private readonly BootPaths _bootPaths = new();
    private readonly PiixIde? _ide;
    private readonly MachineScreen? _screen;
    private Piix4Pm? _powerFunction;
    private CfiFlash? _flash;
    private readonly AhciController? _ahci;
    private readonly List<NvmeController> _nvme = [];
    private readonly FloppyController? _floppy;
    private readonly List<InterruptLine> _serialLines = [];

    /// <param name="boot">What the machine starts: firmware, or a kernel that a loader brings.</param>
    public Pc(PlatformLayout layout, MachineParts parts, BootSource boot, MachineConsole console, Action<byte> debugOutput, Action<CycleEnd> end)
    {
        FirmwareImage? firmware = boot.Firmware;
        Memory = CreateMemory(layout);
        MemoryRegion ram = PlaceRam(Memory, layout);
        Clock = new MachineClock();
        Interrupts = new InterruptRouter();
        LocalApics = CreateLocalApics(layout.CpuCount);
        var coprocessor = new CoprocessorError(Interrupts.CreateIsaLine(CoprocessorError.Irq));
        coprocessor.Map(Ports);
        Buses = [.. LocalApics.Select(apic => new PcBus(Ports, Mmio, apic, coprocessor, end))];

        InterruptLine irq0 = Interrupts.CreateIsaLine(0);
        InterruptLine irq8 = Interrupts.CreateIsaLine(Rtc.Irq);
        void Reset() => end(new CycleEnd(CycleEndKind.Reset));

        Interrupts.Pic.Map(Ports);
        Interrupts.IoApic.Map(Mmio);
        new Pit8254(Clock, irq0).Map(Ports);
        var rtc = new Rtc(Clock, irq8, layout.RamBelow4G, layout.RamAbove4G);
        rtc.Map(Ports);
        if (layout.HasHpet)
        {
            new Hpet(Clock, Interrupts, irq0, irq8).Map(Mmio);
        }

        PowerManagement = new AcpiPm(Clock, Interrupts.CreateIsaLine(AcpiPm.SciIrq)) { PowerOff = () => end(new CycleEnd(CycleEndKind.PowerOff)) };
        if (layout.HasKeyboardController)
        {
            var keyboard = new Ps2Keyboard(Clock);
            var mouse = new Ps2Mouse();
            new I8042(Interrupts.CreateIsaLine(I8042.KeyboardIrq), Interrupts.CreateIsaLine(I8042.AuxiliaryIrq), A20, keyboard, mouse) { ResetRequested = Reset }.Map(Ports);
            new SystemControlPort(A20) { ResetRequested = Reset }.Map(Ports);
            parts.Keyboard.Attach(keyboard);
            parts.Pointer.Attach(mouse);
        }

        var reset = new ResetControl { ResetRequested = Reset };
        PciHost pciHost = firmware is null ? new PciHost(reset) : PlaceFirmware(firmware, boot.Variables, ram, reset, parts.Warn);
        pciHost.Map(Ports);
        if (firmware is not null)
        {
            new FirmwareLog(debugOutput).Map(Ports);
        }

        if (parts.Virtualization == Virtualization.Para)
        {
            // A guest can find them.
            new DebugConsole(debugOutput).Map(Ports);
            new DebugExit { ExitRequested = value => end(new CycleEnd(CycleEndKind.DebugExit, Value: value)) }.Map(Ports);
        }

        new PostCode().Map(Ports);

        PlugInSerialPorts(layout, [console, .. parts.MoreSerialLines]);
        if (layout.HasParallelPort)
        {
            new ParallelPort().Map(Ports);
        }

        var pci = new PciBus(pciHost, Mmio, Ports, Interrupts) { Memory = Memory, FirmwareAssigns = firmware is not null };
        _ide = PlugInIde(parts, pci, firmware);
        _screen = parts.Screen;
        PlugInVideo(parts, pci, boot.VideoBios);
        PlugInCards(parts, pci);
        _ahci = PlugInAhci(parts, pci);
        PlugInNvme(parts, pci);
        _floppy = PlugInFloppy(parts, rtc);
        PlugIn(parts, new VirtioSlots(parts.Virtio, pci, Mmio, Interrupts));
        if (firmware is not null)
        {
            TellFirmware(layout, parts, rtc, boot.Kernel?.HandOver(layout));
        }

        LocalApics[0].EnterVirtualWireMode();
    }

    public GuestMemory Memory { get; }

    public MachineClock Clock { get; }

    public InterruptRouter Interrupts { get; }

    /// <summary>One for each processor.</summary>
    public IReadOnlyList<LocalApic> LocalApics { get; }

    public AcpiPm PowerManagement { get; }

    public A20Gate A20 { get; } = new();

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

        foreach (IDisposable card in _cards)
        {
            card.Dispose();
        }

        _ide?.Dispose();
        _ahci?.Dispose();
        _floppy?.Dispose();
        _nvme.ForEach(controller => controller.Dispose());
        _serialLines.ForEach(line => line.Connected = false);
        _flash?.Flush();
        _screen?.Detach();
    }

    public void Dispose() => Memory.Dispose();

    /// <remarks>A loop, for a query over a range would have the native program look its generic virtual method up, which takes longer than all of it.</remarks>
    private LocalApic[] CreateLocalApics(int count)
    {
        var apics = new LocalApic[count];
        for (int id = 0; id < count; id++)
        {
            apics[id] = new LocalApic((uint)id, Interrupts.Apics, Clock);
        }

        return apics;
    }

    /// <summary>Two ports each share an interrupt, whose line is high while one of them wants it.</summary>
    private void PlugInSerialPorts(PlatformLayout layout, IReadOnlyList<MachineConsole> ends)
    {
        for (int i = 0; i < layout.SerialPorts.Count; i++)
        {
            InterruptLine line = Interrupts.CreateIsaLine(layout.SerialPorts[i].Irq);
            var uart = new Uart16550(line, ends[i].Backend);
            uart.Map(Ports, layout.SerialPorts[i].Port, $"COM{i + 1}");
            ends[i].Attach(uart);
            _serialLines.Add(line);
        }
    }

    /// <summary>The IDE controller: a classic PC has it in any case, others if there is a disk for it.</summary>
    private PiixIde? PlugInIde(MachineParts parts, PciBus pci, FirmwareImage? firmware)
    {
        AtaDevice?[] places = IdePlaces.Fill(Memory, parts, _bootPaths);
        if (places.All(place => place is null) && parts.Virtualization == Virtualization.Para && firmware is null)
        {
            PowerManagement.Map(Ports);
            return null;
        }

        var ide = new PiixIde(Memory, Interrupts, places);
        pci.Attach(PiixIsaBridge.Device, 0, PiixIsaBridge.Create(Interrupts, routed: firmware is null));
        pci.Attach(PiixIsaBridge.Device, PiixIde.FunctionNumber, ide.Function);
        ide.Map(Ports);
        PowerManagement.MapEvents(Ports);
        _powerFunction = new Piix4Pm(Ports, PowerManagement);
        pci.Attach(PiixIsaBridge.Device, Piix4Pm.FunctionNumber, _powerFunction.Function);
        if (firmware is null)
        {
            _powerFunction.Configure(AcpiPm.DefaultBase);
        }

        return ide;
    }

    /// <summary>The video card of a classic PC.</summary>
    private void PlugInVideo(MachineParts parts, PciBus pci, OptionRom? bios)
    {
        if (parts.Screen is not { } screen)
        {
            return;
        }

        // Its window is where RAM would be.
        Memory.Unmap(Vga.WindowAddress, Vga.WindowSize);
        var video = new Vga(Memory, Clock, bios is null ? [] : bios.Bytes.Span);
        video.Map(Ports, Mmio);
        pci.Attach(video.Function);
        screen.Attach(video);
    }

    /// <summary>The network cards that are not virtio's.</summary>
    private void PlugInCards(MachineParts parts, PciBus pci)
    {
        Span<byte> mac = stackalloc byte[E1000.MacLength];
        foreach (MachineNetwork network in parts.Networks)
        {
            network.Mac.CopyTo(mac);
            (IDisposable card, PciFunction function)? plugged = network.Model switch
            {
                NetworkModel.E1000 when new E1000(Memory, network.Backend, Clock, mac) is var card => (card, card.Function),
                NetworkModel.Rtl8139 when new Rtl8139(Memory, network.Backend, Clock, mac) is var card => (card, card.Function),
                _ => null,
            };
            if (plugged is var (device, registers))
            {
                AddRom(network, registers);
                _bootPaths.AddNetwork(network, pci.Attach(registers));
                _cards.Add(device);
            }
        }
    }

    private void AddRom(MachineNetwork network, PciFunction card)
    {
        if (network.Rom is { } rom)
        {
            card.AddRom(Memory, rom.Bytes.Span);
        }
    }

    /// <summary>The Serial ATA controller, if there is a disk or a CD drive for it.</summary>
    private AhciController? PlugInAhci(MachineParts parts, PciBus pci)
    {
        AtaDevice[] devices = SataPorts.Fill(Memory, parts);
        if (devices.Length == 0)
        {
            return null;
        }

        var ahci = new AhciController(Memory, devices);
        SataPorts.Name(parts, _bootPaths, pci.Attach(ahci.Function));
        return ahci;
    }

    /// <summary>DMA and floppy controllers: a classic PC has them in any case, others if there is a floppy drive.</summary>
    private FloppyController? PlugInFloppy(MachineParts parts, Rtc rtc)
    {
        if (parts.FloppyDrives.Count == 0 && parts.Virtualization == Virtualization.Para)
        {
            return null;
        }

        var dma = new DmaController(Memory);
        dma.Map(Ports);
        var controller = new FloppyController(dma, Interrupts, [.. parts.FloppyDrives.Select(drive => drive.Medium)]) { Failed = problem => parts.Warn($"floppy: {problem}") };
        controller.Map(Ports);
        rtc.StoreCmos(FloppyController.CmosDrives, controller.CmosDriveTypes);
        rtc.AddEquipment(controller.CmosEquipmentBits);
        for (int i = 0; i < parts.FloppyDrives.Count; i++)
        {
            parts.FloppyDrives[i].Device = controller.Drives[i];
            _bootPaths.AddFloppy(parts.FloppyDrives[i], i);
        }

        return controller;
    }

    private void PlugInNvme(MachineParts parts, PciBus pci)
    {
        foreach (MachineDisk disk in parts.Disks.Where(disk => disk.Bus == DiskBus.Nvme))
        {
            var controller = new NvmeController(Memory, disk.Backend, disk.Spec.Serial ?? $"NVME{_nvme.Count + 1:D8}") { Failed = problem => parts.Warn($"disk '{disk.Spec.Path}': {problem}") };
            _bootPaths.AddDisk(disk, pci.Attach(controller.Function));
            _nvme.Add(controller);
        }
    }

    private void PlugIn(MachineParts parts, VirtioSlots slots)
    {
        int? Attach(VirtioDevice device, string name, string what, Action<PciFunction>? addRom = null)
        {
            device.Broken = problem => parts.Warn($"{what}: the guest's driver broke the rules and has to reset the device: {problem}");
            _virtio.Add(device);
            return slots.Attach(device, name, addRom);
        }

        foreach (MachineDisk disk in parts.Disks.Where(disk => disk.Bus == DiskBus.Virtio))
        {
            string what = $"disk '{disk.Spec.Path}'";
            var device = new VirtioBlock(Memory, disk.Backend, disk.Serial, Math.Min(LocalApics.Count, VirtioBlock.MaxQueues)) { Failed = problem => parts.Warn($"{what}: {problem}") };
            if (Attach(device, "virtio-blk", what) is { } number)
            {
                _bootPaths.AddDisk(disk, number);
            }
        }

        Span<byte> mac = stackalloc byte[VirtioNet.MacLength];
        foreach (MachineNetwork network in parts.Networks.Where(network => network.Model == NetworkModel.Virtio))
        {
            network.Mac.CopyTo(mac);
            if (Attach(new VirtioNet(Memory, network.Backend, mac), "virtio-net", $"network card {network.Mac}", card => AddRom(network, card)) is { } number)
            {
                _bootPaths.AddNetwork(network, number);
            }
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

    /// <summary>Puts the firmware's ROM where processors begin.</summary>
    private PciHost PlaceFirmware(FirmwareImage firmware, FirmwareVariables? variables, MemoryRegion ram, ResetControl reset, Action<string> warn)
    {
        ulong length = (ulong)firmware.Bytes.Length;
        MemoryRegion rom = Memory.Allocate(length);
        firmware.Bytes.Span.CopyTo(rom.Bytes);
        Memory.Map(PlatformLayout.HighRamStart - length, rom, 0, length, readOnly: true);

        if (variables is not null)
        {
            _flash = FirmwareFlash.Place(Memory, Mmio, PlatformLayout.HighRamStart - length, variables, warn);
        }

        // The last 128 KiB answer below 1 MiB as well, where real mode can reach them.
        int low = (int)Math.Min(length, LowRomLength);
        MemoryRegion lowRom = Memory.Allocate(LowRomLength);
        firmware.Bytes.Span[^low..].CopyTo(lowRom.Bytes[^low..]);
        var area = new LegacyArea(Memory, ram, lowRom);
        area.Map(Mmio);
        var bridge = new HostBridge(area, s_knownToFirmware);
        bridge.Reset();
        return new PciHost(reset, bridge);
    }

    /// <summary>Answers what firmware asks of the board.</summary>
    private void TellFirmware(PlatformLayout layout, MachineParts parts, Rtc rtc, FirmwareHandover? kernel)
    {
        IReadOnlyList<string> bootOrder = _bootPaths.InOrder(parts);
        var configuration = new FwCfg(Memory, layout.CpuCount, () => FwCfgFiles.Build(
            layout with { PowerManagementBase = _powerFunction?.Base ?? AcpiPm.DefaultBase }, serialConsole: true, bootOrder, kernel));
        if (kernel is not null)
        {
            configuration.Add(FirmwareHandover.PayloadItem, kernel.Payload);
        }

        configuration.Map(Ports);
        BiosSettings.Store(rtc, layout.CpuCount, parts.BootOrder);
    }

    /// <summary>RAM from 0 to the hole below 4 GiB, and the rest above.</summary>
    private static MemoryRegion PlaceRam(GuestMemory memory, PlatformLayout layout)
    {
        MemoryRegion ram = memory.Allocate(layout.RamBelow4G + layout.RamAbove4G, isRam: true);
        memory.Map(0, ram, 0, layout.RamBelow4G);
        if (layout.RamAbove4G != 0)
        {
            memory.Map(PlatformLayout.HighRamStart, ram, layout.RamBelow4G, layout.RamAbove4G);
        }

        return ram;
    }

    private static GuestMemory CreateMemory(PlatformLayout layout)
    {
        try
        {
            return new GuestMemory(layout.RamBelow4G + layout.RamAbove4G + DeviceMemory);
        }
        catch (OutOfMemoryException e)
        {
            throw new VivariumException(e.Message, e);
        }
    }
}
