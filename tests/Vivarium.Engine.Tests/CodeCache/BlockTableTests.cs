using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Translate;
using Xunit;

namespace Vivarium.Engine.Tests.CodeCache;

public sealed unsafe class BlockTableTests
{
    /// <summary>Blocks that stand close together, and in several pages, modes and places of the address space, come and go.</summary>
    [Fact]
    public void FindsWhatIsThereAndNothingElse()
    {
        const int steps = 100_000;
        var chance = new Random(2026);
        using var memory = new BlockRecords();
        using var table = new BlockTable();
        Dictionary<BlockKey, Block> there = [];
        for (int i = 0; i < steps; i++)
        {
            var gpa = (ulong)chance.Next(0x8000);
            var key = new BlockKey(gpa, gpa + (0xFFFF_FFFF_8000_0000 * (ulong)chance.Next(2)), chance.Next(2) == 0 ? BlockMode.Code64 : BlockMode.Code32, CodeLimit: 0);
            Block found = table.Find(key);
            Assert.Equal(there.GetValueOrDefault(key), found);
            if (!found.Exists)
            {
                there[key] = Block.Create(memory, key, code: null, record: null);
                table.Add(there[key]);
            }
            else if (chance.Next(3) != 0)
            {
                table.Remove(found);
                there.Remove(key);
            }
        }

        Assert.Equal(there.Count, table.Count);
        Assert.All(there, known => Assert.Equal(known.Value, table.Find(known.Key)));
    }
}
