using Vivarium.Cpu;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>INIT and start-up messages to an application processor (SDM vol. 3A, 9.4).</summary>
public sealed class StartupLatchTests
{
    private readonly StartupLatch _latch = new();

    [Fact]
    public void After_power_up_it_waits_and_starts_with_the_first_message()
    {
        Assert.True(_latch.Waits);
        Assert.False(_latch.HasNews);
        Assert.False(_latch.TakeStartup(out _));
        _latch.Startup(0x9A);
        Assert.True(_latch.HasNews);
        Assert.True(_latch.TakeStartup(out byte vector));
        Assert.Equal(0x9A, vector);
        Assert.False(_latch.Waits);
    }

    [Fact]
    public void A_running_processor_ignores_start_up_messages()
    {
        Start();
        _latch.Startup(7);
        Assert.False(_latch.HasNews);
        Assert.False(_latch.TakeStartup(out _));
        _latch.Init();
        Assert.True(_latch.TakeInit());
        Assert.False(_latch.HasNews);
    }

    [Fact]
    public void Init_makes_it_wait_and_a_message_right_behind_is_not_lost()
    {
        Start();
        _latch.Init();
        _latch.Startup(5);
        Assert.False(_latch.TakeStartup(out _));
        Assert.True(_latch.TakeInit());
        Assert.False(_latch.TakeInit());
        Assert.True(_latch.Waits);
        Assert.True(_latch.TakeStartup(out byte vector));
        Assert.Equal(5, vector);
    }

    [Fact]
    public void Init_voids_the_message_before_it()
    {
        _latch.Startup(5);
        _latch.Init();
        Assert.True(_latch.TakeInit());
        Assert.False(_latch.TakeStartup(out _));
        Assert.True(_latch.Waits);
    }

    private void Start()
    {
        _latch.Startup(1);
        Assert.True(_latch.TakeStartup(out _));
    }
}
