namespace Vivarium.Oracle;

internal static class Program
{
    private static unsafe int Main(string[] args)
    {
        var catalog = Generate.FormCatalog.For64Bit();
        Console.WriteLine($"{catalog.Forms.Count} forms");
        foreach ((string reason, List<Iced.Intel.Code> forms) in catalog.LeftOut)
        {
            Console.WriteLine($"{forms.Count,5} {reason}: {string.Join(' ', forms.Take(args.Length > 0 ? 10000 : 12))}");
        }

        var native = new Native.NativeRunner();
        var test = new TestCase();
        var first = new Outcome();
        var second = new Outcome();
        var generator = new Generate.CaseGenerator(1);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        int cases = 0;
        var vectors = new SortedDictionary<int, int>();
        foreach (Iced.Intel.Code form in catalog.Forms)
        {
            int made = 0;
            int completed = 0;
            for (int index = 0; index < 20; index++)
            {
                if (!generator.TryMake(form, index, test))
                {
                    continue;
                }

                made++;
                if (args.Length > 1) { Console.Error.WriteLine($"{form} {index} {Convert.ToHexString(test.Code)} {test.Instructions[0]} rsp {test.Input->Gpr[4]:x} flags {test.Input->Rflags:x}"); }
                native.Run(test, first);
                native.Run(test, second);
                cases++;
                vectors[first.Vector] = vectors.GetValueOrDefault(first.Vector) + 1;
                completed += first.Vector < 0 ? 1 : 0;
                if (Compare.Comparison.Difference(test, first, second) is { } difference)
                {
                    Console.WriteLine($"{form} {index} {Convert.ToHexString(test.Code)} {test.Instructions[0]}\n{difference}");
                }
            }

            if (made < 20 || completed < 5)
            {
                Console.WriteLine($"{form}: made {made}, completed {completed}, last {first.Vector}");
            }
        }

        Console.WriteLine($"{cases} cases, {clock.Elapsed.TotalSeconds:f2} s; {string.Join(", ", vectors)}");
        return 0;
    }
}
