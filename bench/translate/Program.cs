using System.Diagnostics;
using System.Globalization;
using Vivarium.Translate;

// Usage: Vivarium.Translate FILE PASSES: translates a file of 64-bit code PASSES times, and tells what an instruction takes.
byte[] text = File.ReadAllBytes(args[0]);
int passes = int.Parse(args[1], CultureInfo.InvariantCulture);
using var row = new Row(text);

// Forms, examples and branch predictors are learned once in a guest's life too, and soon.
_ = row.Translate();
var times = new List<double>();
long blocks = 0, instructions = 0;
for (int i = 0; i < passes; i++)
{
    long started = Stopwatch.GetTimestamp();
    (blocks, instructions) = row.Translate();
    times.Add(Stopwatch.GetElapsedTime(started).TotalNanoseconds / instructions);
}

times.Sort();
Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
    $"{instructions} instructions in {blocks} blocks, {passes} passes: {times[0]:F0} ns an instruction at the least, median {times[times.Count / 2]:F0}"));
