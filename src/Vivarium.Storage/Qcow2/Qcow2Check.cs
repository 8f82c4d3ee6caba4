using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

internal static class Qcow2Check
{
    public static void RepairDirty(HostFile file, Qcow2Header header) => throw new NotSupportedException();
}
