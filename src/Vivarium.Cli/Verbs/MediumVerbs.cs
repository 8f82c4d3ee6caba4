using System.CommandLine;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv insert</c> and <c>viv eject</c>: change what is in a machine's drives.</summary>
internal static class MediumVerbs
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    public static Command BuildInsert()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var drive = new Argument<string>("drive") { Description = "cd (cd2, ...) or floppy (floppy2)" };
        var file = new Argument<string>("file") { Description = "The image to put in, whatever was in there before" };
        var insert = new Command("insert", "Put a CD or floppy image into a machine's drive.") { name, drive, file };
        insert.SetAction(parsed =>
        {
            // The machine's folder is another than the caller's.
            string path = Path.GetFullPath(parsed.GetValue(file)!);
            if (!File.Exists(path))
            {
                throw new InvalidInputException($"there is no file '{path}' to put into the drive");
            }

            return Ask(parsed.GetValue(name)!, new ControlOrder(ControlVerb.Insert) { Text = parsed.GetValue(drive), File = path });
        });
        return insert;
    }

    public static Command BuildEject()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var drive = new Argument<string>("drive") { Description = "cd (cd2, ...) or floppy (floppy2)" };
        var force = new Option<bool>("--force") { Description = "Also if the guest has locked the drive" };
        var eject = new Command("eject", "Take what is in a machine's CD or floppy drive out of it.") { name, drive, force };
        eject.SetAction(parsed => Ask(parsed.GetValue(name)!, new ControlOrder(ControlVerb.Eject) { Text = parsed.GetValue(drive), Force = parsed.GetValue(force) }));
        return eject;
    }

    private static int Ask(string name, ControlOrder order)
    {
        using ControlClient client = ControlClient.Connect(MachineRegistry.Open().Find(name));
        _ = client.Ask(order, s_patience);
        return ExitStatus.Success;
    }
}
