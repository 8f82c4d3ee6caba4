using Vivarium.Cli.Guests;
using Vivarium.Cli.Verbs;

namespace Vivarium.Cli.Compare;

/// <summary>One of the machines that are compared: boot, log in, work, pull the plug.</summary>
internal static class PresetRun
{
    private const string ShellPrompt = "# ";
    private const string LoginPrompt = "login: ";
    private const string PasswordPrompt = "assword: ";

    /// <param name="options">As if from the words of <c>viv run</c>.</param>
    /// <param name="boot">The guest's files.</param>
    /// <param name="scratch">An empty disk of <see cref="Workload.DiskSize"/> bytes.</param>
    /// <exception cref="VivariumException">The guest did not get through; the message says why.</exception>
    public static async Task<MachineFigures> RunAsync(RunOptions options, BootSet boot, string scratch)
    {
        MachineSpec spec = MachinePlan.Complete(MachinePlan.Draft(options), options, boot, "compare").Spec;
        spec = spec with
        {
            MeasureTimes = true,
            Disks = [.. spec.Disks, new DiskSpec { Path = scratch, Format = Storage.ImageFormat.Raw, Serial = Workload.DiskSerial }],
        };
        await using VirtualMachine machine = VirtualMachine.Create(spec);
        // It is open now, and gone with this process in whatever way that ends.
        File.Delete(scratch);
        using var dialogue = new GuestDialogue(machine);
        machine.Start();
        var meter = new PhaseMeter(machine);
        _ = await dialogue.HearAsync(boot.Logins.Count == 0 ? ShellPrompt : LoginPrompt).ConfigureAwait(false);
        PhaseFigures booted = meter.Cut();
        if (boot.Logins is [var login, ..])
        {
            dialogue.Say($"{login.User}\n");
            _ = await dialogue.HearAsync(PasswordPrompt).ConfigureAwait(false);
            dialogue.Say($"{login.Password}\n");
            _ = await dialogue.HearAsync(ShellPrompt).ConfigureAwait(false);
            _ = meter.Cut();
        }

        dialogue.Say(Workload.Script);
        string said = await dialogue.HearAsync(Workload.End).ConfigureAwait(false);
        return new MachineFigures { Boot = booted, Work = meter.Cut(), Figures = Workload.Understand(said) };
    }
}
