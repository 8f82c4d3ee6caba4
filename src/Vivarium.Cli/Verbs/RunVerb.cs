using System.CommandLine;
using Vivarium.Cli.Terminal;
using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv run</c>: one machine, in the foreground or in the background.</summary>
internal static class RunVerb
{
    public static Command Build()
    {
        var guest = new Argument<string?>("guest")
        {
            Description = "A guest that viv knows by name: " + string.Join(", ", GuestCatalog.Names),
            Arity = ArgumentArity.ZeroOrOne,
        };
        var kernel = Text("--kernel", "FILE", "Kernel to boot: bzImage, ELF vmlinux with a PVH note, multiboot; with --virt full also what calls the BIOS (iPXE, Memtest86+)");
        var initrd = Text("--initrd", "FILE", "Initial RAM disk for the kernel");
        var append = Text("--append", "TEXT", "Kernel command line (after a named guest's own)");
        var module = Repeated("--module", "'FILE[ ARGS]'", "With a multiboot kernel: a file that it gets, and what it is told of it; may be repeated");
        var firmware = Text("--firmware", "bios|uefi|FILE", "Start firmware instead of a kernel, which finds what to boot by itself: bios (SeaBIOS; what a machine without a kernel does), uefi (OVMF; its variables are kept if the machine has a --name), or a file");
        var bootOrder = Text("--boot", "LIST", $"What firmware tries, in this order: {BootOption.Names}, with commas between (disk,cd,floppy); net is iPXE in the card's ROM");
        var debugcon = Text("--debugcon", "FILE|-", "Where firmware's messages go (ports 0x402 and 0xE9): a file, or - for this terminal");
        var memory = Text("--memory", "SIZE", "Guest memory, for example 512M or 4G (512M; debian has 1G)");
        var cpu = Text("--cpu", "MODEL", "Processor that the guest sees: " + string.Join(", ", Engine.CpuModel.Names), Engine.CpuModel.Names[0]);
        var cpus = Text("--cpus", "N", $"How many processors the guest has, 1 to {MachineSpec.MostCpus}", "1");
        var virt = Text("--virt", "STYLE", "The machine's hardware: para (virtio, paravirtual clock and calls; the default with a kernel), or full (a classic PC, no sign of a hypervisor; the default without)");
        var engine = Text("--engine", "NAME", "What executes the guest: auto, software", "auto");
        var engineOptions = Text("--engine-opt", "LIST", "For bisecting: switch parts of the software engine off, for example no-linking,code-cache=4M (an unknown name lists all)");
        var codeCache = Text("--code-cache", "DIR|off", "Where translated code is kept for the next start (the user's cache folder): only in a folder that nobody else can write");
        var serial = Repeated("--serial", "WHERE", "The guest's first serial port: stdio (the default; not with -d), file:PATH, none; given again, up to three more ports (COM2 to COM4), also to unix:PATH, a socket");
        var display = Text("--display", "HOW", "The screen of a --virt full machine: text (in this terminal; what firmware gets there), vnc[=[HOST:]PORT|unix:PATH][,password-file=PATH], or none");
        var noReboot = new Option<bool>("--no-reboot") { Description = "End when the guest reboots" };
        var timeout = Text("--timeout", "TIME", "End after this time, for example 60s, 5m, 1500ms");
        var stats = new Option<bool>("--stats") { Description = "Print to stderr at the end where time went: exits by reason, TLBs, translations (docs/observing.md)" };
        var trace = Text("--trace", "LIST", "Write down what happens: " + string.Join(", ", TraceOption.Names) + ", with commas between");
        var traceFile = Text("--trace-file", "FILE", "Where to (NAME.trace in the current folder); the older half is in FILE.old");
        var traceSize = Text("--trace-size", "SIZE", "How much of the trace to keep, the end of it (64M)");
        var perfMap = new Option<bool>("--perf-map") { Description = "Tell the host's perf what translated code is, by /tmp/perf-PID.map (docs/observing.md)" };
        var perfSymbols = Repeated("--perf-symbols", "FILE", "With --perf-map: where the guest's symbols stand: System.map, a copy of its /proc/kallsyms, or an ELF file");
        var name = Text("--name", "NAME", "What to call the machine in viv ps, stop, console, ssh (made up otherwise)");
        var background = new Option<bool>("--detach", "-d") { Description = "Run in the background: print the machine's name once it has started" };
        var json = new Option<bool>("--json") { Description = "With -d: print all about the machine as JSON" };

        var disk = Repeated("--disk", "FILE[,...]", "A disk; ,format=raw|qcow2 ,readonly ,overlay (throw-away writes) ,serial=TEXT ,bus=virtio|ide|ahci|nvme may follow; a comma in FILE is doubled");
        var cdrom = Repeated("--cdrom", "FILE|none", "A CD drive with this ISO image in it; ,bus=ide|ahci may follow");
        var floppy = Repeated("--floppy", "FILE|none", "A floppy drive with this image in it, 160K to 2880K; ,readonly ,overlay may follow");
        var ephemeral = new Option<bool>("--ephemeral") { Description = "Throw away what the guest writes to any disk" };
        var persist = new Option<bool>("--persist") { Description = "Keep what a named guest writes: it gets a root disk of its own, used again next time" };
        var rebuild = new Option<bool>("--rebuild") { Description = "Make a named guest's files again from Debian's packages" };
        var net = Text("--net", "KIND", "Network: user (NAT, no privileges; the default with a disk), tap:IFACE, none; and the card: ,model=virtio|e1000|rtl8139 (virtio; e1000 with --virt full)");
        var publish = Repeated("--publish", "PORTS", "Lead a port of this host into the guest: [ADDR:]2222:22[/udp]", "-p");
        var allow = Repeated("--net-allow", "WHERE", "Let the guest reach only this: HOST, *.HOST or CIDR, with :PORT if wanted");
        var virtio = Text("--virtio", "HOW", "How disks and network are attached: pci or mmio, and the rings: ,split or ,packed", "pci");

        var console = Text("--console", "DEVICE", "The guest's console: serial, or virtio (hvc0), which is faster", "serial");
        var port = Repeated("--port", "NAME=SOCKET", "Lead a Unix socket of this host to /dev/virtio-ports/NAME in the guest");
        var vsock = Text("--vsock", "PATH[,cid=N]", "Sockets between host and guest: connect to PATH and write 'CONNECT port'; the guest's port N of the host is PATH_N");
        var balloon = Text("--balloon", "on|off", "A memory balloon: what the guest does not use goes back to the host, and viv balloon can ask for more (on, but for --virt full)");

        var gdb = Text("--gdb", "[HOST:]PORT", "Let GDB debug the guest: in gdb, target remote :PORT; loopback only unless HOST says otherwise, and 0 takes any free port");
        var gdbWait = new Option<bool>("--gdb-wait") { Description = "With --gdb (1234 if that is missing): do not start the guest before GDB says so" };

        var share = Repeated("--share", "DIR:TAG[,readonly]", "Let the guest mount a folder of this host: in Linux, mount -t virtiofs TAG /mnt; a comma in DIR is doubled");

        var command = new Command("run", "Run a machine, its serial console on this terminal (or in the background, with -d).")
        {
            guest, kernel, initrd, append, module, firmware, bootOrder, debugcon, memory, cpu, cpus, virt, engine, engineOptions, codeCache, serial, display, noReboot, timeout, stats, trace, traceFile, traceSize, perfMap, perfSymbols, name, background, json,
            disk, cdrom, floppy, ephemeral, persist, rebuild, net, publish, allow, virtio, console, port, vsock, balloon, share, gdb, gdbWait,
        };
        FirmwareOption? Firmware(ParseResult parsed) => FirmwareOption.Parse(
            parsed.GetValue(firmware), parsed.GetValue(kernel), parsed.GetValue(guest) is not null, Virtualize(parsed));
        DisplayOption HowShown(ParseResult parsed) => DisplayOption.Choose(
            DisplayOption.Parse(parsed.GetValue(display)),
            startsFirmware: Firmware(parsed) is not null,
            isClassic: Virtualize(parsed) == Virtualization.Full,
            serialSaid: parsed.GetValue(serial) is { Length: > 0 },
            parsed.GetValue(background),
            () => ScreenTerminal.IsPossible);
        SerialTarget FirstSerial(ParseResult parsed) => RunOptions.ParseSerial(parsed.GetValue(serial)?.FirstOrDefault(), parsed.GetValue(background), HowShown(parsed));

        // Who names nothing but media wants a PC that boots from them.
        Virtualization Virtualize(ParseResult parsed) => parsed.GetValue(virt) is { } style
            ? RunOptions.ParseVirtualization(style)
            : (parsed.GetValue(guest) ?? parsed.GetValue(kernel)) is null
                && (parsed.GetValue(firmware) ?? parsed.GetValue(bootOrder) ?? parsed.GetValue(cdrom)?.FirstOrDefault() ?? parsed.GetValue(floppy)?.FirstOrDefault() ?? parsed.GetValue(disk)?.FirstOrDefault()) is not null
                ? Virtualization.Full
                : Virtualization.Para;

        command.SetAction(parsed => RunSession.Run(new RunOptions
        {
            Guest = parsed.GetValue(guest),
            Kernel = parsed.GetValue(kernel),
            Initrd = parsed.GetValue(initrd),
            Append = parsed.GetValue(append),
            Firmware = Firmware(parsed),
            Modules = [.. (parsed.GetValue(module) ?? []).Select(RunOptions.ParseModule)],
            BootOrder = BootOption.Parse(parsed.GetValue(bootOrder)),
            DebugConsole = parsed.GetValue(debugcon),
            Memory = parsed.GetValue(memory) is { } size ? RunOptions.ParseMemory(size) : null,
            Cpu = RunOptions.ParseCpu(parsed.GetValue(cpu)!),
            Cpus = RunOptions.ParseCpus(parsed.GetValue(cpus)!),
            Virtualization = Virtualize(parsed),
            Engine = RunOptions.ParseEngine(parsed.GetValue(engine)!),
            EngineOptions = RunOptions.ParseEngineOptions(parsed.GetValue(engineOptions)) with { TranslationFolder = RunOptions.ParseCodeCache(parsed.GetValue(codeCache)) },
            Serial = FirstSerial(parsed),
            MoreSerial = RunOptions.ParseMoreSerial([.. (parsed.GetValue(serial) ?? []).Skip(1)], FirstSerial(parsed), parsed.GetValue(background), HowShown(parsed)),
            Display = HowShown(parsed),
            NoReboot = parsed.GetValue(noReboot),
            Timeout = parsed.GetValue(timeout) is { } time ? RunOptions.ParseTimeout(time) : null,
            Statistics = parsed.GetValue(stats),
            PerfMap = RunOptions.ParsePerfMap(parsed.GetValue(perfMap), parsed.GetValue(perfSymbols) ?? []),
            Trace = TraceOption.Parse(parsed.GetValue(trace), parsed.GetValue(traceFile), parsed.GetValue(traceSize)),
            Name = parsed.GetValue(name),
            Background = parsed.GetValue(background),
            Json = parsed.GetValue(json),
            Disks = [.. (parsed.GetValue(disk) ?? []).Select(DiskOption.Parse)],
            Cdroms = [.. (parsed.GetValue(cdrom) ?? []).Select(MediumOption.ParseCdrom)],
            Floppies = [.. (parsed.GetValue(floppy) ?? []).Select(MediumOption.ParseFloppy)],
            Ephemeral = parsed.GetValue(ephemeral),
            Persist = parsed.GetValue(persist),
            Rebuild = parsed.GetValue(rebuild),
            Network = NetworkOptions.Parse(parsed.GetValue(net), parsed.GetValue(publish) ?? [], parsed.GetValue(allow) ?? []),
            Virtio = VirtioOption.Parse(parsed.GetValue(virtio)!),
            VirtioConsole = RunOptions.ParseConsole(parsed.GetValue(console)!),
            Ports = [.. (parsed.GetValue(port) ?? []).Select(PortOption.Parse)],
            Balloon = RunOptions.ParseBalloon(parsed.GetValue(balloon)),
            Vsock = parsed.GetValue(vsock) is { } socket ? VsockOption.Parse(socket) : null,
            Gdb = GdbOption.Parse(parsed.GetValue(gdb), parsed.GetValue(gdbWait)),
            Shares = [.. (parsed.GetValue(share) ?? []).Select(ShareOption.Parse)],
        }));
        return command;
    }

    private static Option<string?> Text(string name, string value, string description, string? byDefault = null)
    {
        var option = new Option<string?>(name) { HelpName = value, Description = description, Arity = ArgumentArity.ExactlyOne };
        if (byDefault is not null)
        {
            option.DefaultValueFactory = _ => byDefault;
        }

        return option;
    }

    /// <summary>May be given again and again, each time with one value. Without a default value, the library would use reflection to make an empty array.</summary>
    private static Option<string[]> Repeated(string name, string value, string description, params string[] aliases) =>
        new(name, aliases) { HelpName = value, Description = description, Arity = ArgumentArity.OneOrMore, AllowMultipleArgumentsPerToken = false, DefaultValueFactory = _ => [] };
}
