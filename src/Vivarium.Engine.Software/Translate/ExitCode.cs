namespace Vivarium.Engine.Software.Translate;

/// <summary>Why translated code went back to the run loop. S-&gt;Rip is exact at every exit but those that tell a host address instead, and those of helpers, which find it by the host PC.</summary>
internal enum ExitCode
{
    /// <summary>Go on at S-&gt;Rip.</summary>
    Dispatch,

    /// <summary>
    /// Go on at S-&gt;Rip. If that is not canonical and S-&gt;ExitHostPc not zero, the jump is refused whose translation that
    /// is in: of what it has popped, the translation has the bytes there, in 32 bits.
    /// </summary>
    Jump,

    /// <summary>Go on where the jump leads whose stub ends at S-&gt;ExitHostPc, and make it go there directly from now on.</summary>
    Link,

    /// <summary>As <see cref="Link"/>, to a block that is <see cref="BlockMode.Apart"/>.</summary>
    LinkApart,

    /// <summary>A poll saw S-&gt;ExitRequest; go on as far from the block's RIP as the 32 bits at S-&gt;ExitHostPc say.</summary>
    Poll,

    /// <summary>The same, to go on at S-&gt;Rip.</summary>
    PollAtTarget,

    /// <summary>Emulate the instruction with index S-&gt;ExitInfo.</summary>
    Trap,

    /// <summary>Run the instruction at S-&gt;Rip by the careful translation.</summary>
    Careful,

    /// <summary>x87 or vector state is not available: #NM at the instruction whose translation S-&gt;ExitHostPc is behind.</summary>
    DeviceNotAvailable,

    /// <summary>#GP(0) at S-&gt;Rip.</summary>
    Protection,

    /// <summary>#UD at S-&gt;Rip.</summary>
    InvalidOpcode,

    /// <summary>#GP(0) at S-&gt;Rip: the instruction has more bytes than one may have.</summary>
    TooLong,

    /// <summary>The host refused an instruction at S-&gt;ExitHostPc.</summary>
    HostFault,

    /// <summary>A memory helper found a fault; it has set the vCPU's pending fault and S-&gt;Rip.</summary>
    Fault,

    /// <summary>Some vCPU's debugger wants to stop at S-&gt;Rip, or wanted to.</summary>
    DebugStop,

    /// <summary>The block whose code holds S-&gt;ExitHostPc has found the guest's bytes changed; nothing of it was run.</summary>
    Changed,

    /// <summary>A careful translation has finished its one instruction; S-&gt;Rip is the next.</summary>
    CarefulDone,
}
