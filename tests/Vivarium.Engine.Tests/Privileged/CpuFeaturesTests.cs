using Iced.Intel;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class CpuFeaturesTests
{
    [Fact]
    public void The_level_2_model_has_SSE4_and_not_AVX()
    {
        var features = new CpuFeatures(CpuModel.Create("x86-64-v2"));
        Assert.True(features.Offered(Code.Pcmpistri_xmm_xmmm128_imm8));
        Assert.True(features.Offered(Code.Popcnt_r64_rm64));
        Assert.False(features.Offered(Code.VEX_Vaddps_ymm_ymm_ymmm256));
        Assert.False(features.Offered(Code.VEX_Andn_r64_r64_rm64));
        Assert.False(features.Offered(Code.Xsave_mem));
        Assert.False(features.Offered(Code.Xbegin_rel32));
        Assert.False(features.Offered(Code.EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er));
    }

    [Fact]
    public void Hints_of_features_that_are_absent_do_nothing()
    {
        var features = new CpuFeatures(CpuModel.Create("x86-64-v2"));
        Assert.Equal(Offering.Nop, features[Code.Endbr64]);
        Assert.Equal(Offering.Nop, features[Code.Bndmov_bnd_bndm128]);
        // REP BSF, as compilers write it.
        Assert.Equal(Offering.Offered, features[Code.Tzcnt_r64_rm64]);
    }

    [Fact]
    public void Nothing_that_every_system_uses_is_missing()
    {
        var features = new CpuFeatures(CpuModel.Create("x86-64-v2"));
        Code[] codes =
        [
            Code.Mov_r64_rm64, Code.Cpuid, Code.Rdtsc, Code.Rdtscp, Code.Rdmsr, Code.Syscall, Code.Sysenter, Code.Swapgs,
            Code.Wrfsbase_r64, Code.Invlpg_m, Code.Invpcid_r64_m128, Code.Stac, Code.Cmpxchg16b_m128, Code.Cmovne_r64_rm64,
            Code.Fxsave64_m512byte, Code.Fld_m80fp, Code.Pause, Code.Nop_rm64, Code.Clflush_m8, Code.Hlt, Code.Wbinvd,
            Code.Rdpmc, Code.Aaa, Code.Arpl_rm16_r16, Code.Bound_r32_m3232, Code.Salc, Code.Rdpid_r64, Code.Mfence,
        ];
        Assert.All(codes, code => Assert.True(features.Offered(code), code.ToString()));
    }

    [Fact]
    public void Hypercalls_exist_only_under_a_hypervisor()
    {
        Assert.True(new CpuFeatures(CpuModel.Create("x86-64-v2")).Offered(Code.Vmmcall));
        Assert.False(new CpuFeatures(CpuModel.Create("x86-64-v2", showHypervisor: false)).Offered(Code.Vmcall));
    }

    [Fact]
    public void Special_instructions_change_what_the_processor_shows()
    {
        using var processor = new Processor().Long();
        processor.S->Gpr[0] = 0x8000_0000;
        processor.Execute(0x0F, 0xA2); // CPUID
        Assert.True(processor.S->Gpr[0] >= 0x8000_0008);

        processor.Execute(0x0F, 0x31); // RDTSC
        ulong first = (processor.S->Gpr[2] << 32) | processor.S->Gpr[0];
        processor.Cpu.TscAux = 7;
        processor.Execute(0x0F, 0x01, 0xF9); // RDTSCP
        ulong second = (processor.S->Gpr[2] << 32) | processor.S->Gpr[0];
        Assert.True(second > first);
        Assert.Equal(7ul, processor.S->Gpr[1]);

        processor.Execute(0xF4); // HLT
        Assert.True(processor.Cpu.Halted);
        processor.Execute(0x0F, 0x01, 0xD9); // VMMCALL
        Assert.Equal(Vector.InvalidOpcode, processor.Cpu.RaisedFault.Vector); // nobody answers
        processor.Cpu.RaisedFault = default;
        processor.Execute(0x0F, 0x0B); // UD2
        Assert.Equal(Vector.InvalidOpcode, processor.Cpu.RaisedFault.Vector);
    }

    [Fact]
    public void Ring_3_may_not()
    {
        using var processor = new Processor().Long(3);
        byte[][] privileged = [[0xF4], [0x0F, 0x09], [0x0F, 0x08], [0x0F, 0x06], [0x0F, 0x33]]; // HLT, WBINVD, INVD, CLTS, RDPMC
        Assert.All(privileged, code => Assert.Equal(Vector.GeneralProtection, processor.Faults(code).Vector));
        processor.S->Cr4 |= Cr4Bits.Tsd;
        Assert.Equal(Vector.GeneralProtection, processor.Faults(0x0F, 0x31).Vector);
        Assert.Equal(Vector.GeneralProtection, processor.Faults(0x0F, 0x01, 0xF9).Vector);
    }
}
