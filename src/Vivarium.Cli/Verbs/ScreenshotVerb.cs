using System.CommandLine;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Terminal;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv screenshot</c>: a picture of what a monitor on the machine's video card shows.</summary>
internal static class ScreenshotVerb
{
    private const string StandardOutputName = "-";
    private const int LargestPicture = 256 << 20;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    public static Command Build()
    {
        var name = new Argument<string>("name") { Description = "A machine that viv ps lists" };
        var file = new Argument<string>("file") { Description = "The PNG file to write; - for standard output" };
        var screenshot = new Command("screenshot", "Save a picture of a machine's screen.") { name, file };
        screenshot.SetAction(parsed => Save(MachineRegistry.Open().Find(parsed.GetValue(name)!), parsed.GetValue(file)!));
        return screenshot;
    }

    private static int Save(MachineEntry machine, string file)
    {
        using ControlClient client = ControlClient.Connect(machine);
        byte[] picture = client.Ask(ControlVerb.Screenshot).Length is { } length and > 0 and < LargestPicture
            ? client.ReceiveBytes(length, s_patience)
            : throw new VivariumException($"machine {machine.Described} sends no picture; is it run by another version of viv?");
        try
        {
            if (file == StandardOutputName)
            {
                using var output = new StandardOutput();
                output.Write(picture);
            }
            else
            {
                File.WriteAllBytes(file, picture);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new InvalidInputException($"cannot write the picture to '{file}': {e.Message}", e);
        }

        return ExitStatus.Success;
    }
}
