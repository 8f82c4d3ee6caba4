using System.CommandLine;
using Spectre.Console;
using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv guest</c>: the guests known by name.</summary>
internal static class GuestVerb
{
    public static Command Build()
    {
        var list = new Command("list", "List the guests that viv run knows by name.");
        list.SetAction(_ => List());
        var guest = new Command("guest", "Guests that viv knows by name.") { list };
        guest.SetAction(SayWhatToDo);
        return guest;
    }

    private static int SayWhatToDo(ParseResult parsed) =>
        throw new InvalidInputException("say what to do with guests, for example: viv guest list");

    private static int List()
    {
        var table = new Table().Border(TableBorder.None).AddColumns("name", "what it is", "Debian packages", "cached");
        foreach (IGuest guest in GuestCatalog.All)
        {
            table.AddRow(guest.Name, guest.Description, guest.Packages, guest.IsCached(GuestCache.Default) ? "yes" : "no");
        }

        Report.Create().Write(table);
        return ExitStatus.Success;
    }
}
