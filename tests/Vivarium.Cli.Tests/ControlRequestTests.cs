using System.Text;
using Vivarium.Cli.Machines;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>Lines from the control socket, friendly and hostile.</summary>
public sealed class ControlRequestTests
{
    private const int FuzzCases = 50_000;
    private const int Seed = 20;

    [Fact]
    public void What_is_written_is_understood()
    {
        foreach (ControlVerb verb in Enum.GetValues<ControlVerb>())
        {
            var order = new ControlOrder(verb, Target: 1ul << 40, Collect: true);
            byte[] line = ControlRequest.Format(order);
            Assert.Equal((byte)'\n', line[^1]);
            Assert.True(ControlRequest.TryParse(line.AsSpan(..^1), out ControlOrder understood, out _));
            Assert.Equal(order, understood);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("stop")]
    [InlineData("\"stop\"")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("{\"request\":null}")]
    [InlineData("{\"request\":7}")]
    [InlineData("{\"request\":\"STOP\"}")]
    [InlineData("{\"request\":\"balloon\",\"target\":-1}")]
    [InlineData("{\"request\":\"balloon\",\"target\":\"1G\"}")]
    [InlineData("{\"request\":\"balloon\",\"collect\":1}")]
    [InlineData("{\"request\":\"stop\"")]
    [InlineData("{\"request\":\"stop\"} {\"request\":\"stop\"}")]
    [InlineData("{\"request\":\"\\ud800\"}")]
    public void What_is_no_request_is_refused_in_a_sentence(string line)
    {
        Assert.False(ControlRequest.TryParse(Encoding.UTF8.GetBytes(line), out _, out string error));
        Assert.Contains("request", error);
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void No_line_of_bytes_throws_or_is_taken_for_a_request_by_mistake()
    {
        var random = new Random(Seed);
        byte[][] seeds = [.. Enum.GetValues<ControlVerb>().Select(verb => ControlRequest.Format(new ControlOrder(verb))), [.. Enumerable.Repeat((byte)'[', 200)], "{\"request\":{\"request\":\"\\u0000\\ud83d\"}}"u8.ToArray()];
        int understood = 0;
        for (int i = 0; i < FuzzCases; i++)
        {
            byte[] line = Mutate(random, seeds[random.Next(seeds.Length)]);
            if (ControlRequest.TryParse(line, out ControlOrder order, out string error))
            {
                understood++;
                Assert.Contains(order.Verb.ToString(), Unescaped(line), StringComparison.OrdinalIgnoreCase);
            }
            else
            {
                Assert.NotEmpty(error);
            }
        }

        // Some mutations change nothing that matters: otherwise the cases would be too wild to find anything.
        Assert.InRange(understood, FuzzCases / 100, FuzzCases / 2);
    }

    /// <summary>JSON may write a letter as \u0073.</summary>
    private static string Unescaped(byte[] line) => System.Text.RegularExpressions.Regex.Replace(
        Encoding.UTF8.GetString(line), @"\\u([0-9a-fA-F]{4})", match => ((char)Convert.ToInt32(match.Groups[1].Value, 16)).ToString());

    private static byte[] Mutate(Random random, byte[] seed)
    {
        List<byte> line = [.. seed];
        for (int edits = random.Next(4); edits > 0 && line.Count > 0; edits--)
        {
            int at = random.Next(line.Count);
            switch (random.Next(5))
            {
                case 0:
                    line[at] = (byte)random.Next(256);
                    break;
                case 1:
                    line.RemoveAt(at);
                    break;
                case 2:
                    line.Insert(at, (byte)random.Next(256));
                    break;
                case 3:
                    line.RemoveRange(at, random.Next(line.Count - at + 1));
                    break;
                default:
                    line.InsertRange(at, line.GetRange(at, random.Next(line.Count - at + 1)));
                    break;
            }
        }

        return [.. line];
    }
}
