using Vivarium.Firmware.Cpio;

namespace Vivarium.Cli.Guests;

/// <summary>An initramfs around one static busybox: an init that makes a link for every applet and gives a shell with job control.</summary>
internal static class ShellInitramfs
{
    /// <summary>
    /// Process 1. The applets poweroff, halt and reboot signal it (USR2, USR1, TERM, as busybox's own init takes them);
    /// the shell gets the console as its controlling terminal, so that Ctrl-C and job control work.
    /// </summary>
    public const string Init = """
        #!/bin/sh
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
        # The guest asks busybox for its applets: the host may not be able to run it (32-bit programs). It looks for itself in /proc.
        busybox mount -t proc proc /proc
        busybox --install -s
        mount -t sysfs sysfs /sys
        mount -t devtmpfs devtmpfs /dev 2>/dev/null
        mkdir -p /dev/pts
        mount -t devpts devpts /dev/pts
        mount -t tmpfs tmpfs /tmp
        hostname vivarium
        trap 'poweroff -f' USR1 USR2
        trap 'reboot -f' TERM
        read -r consoles </sys/class/tty/console/active
        tty=/dev/${consoles##* }
        [ -c "$tty" ] || tty=/dev/console
        processors=$(nproc)
        [ "$processors" = 1 ] && processors='one processor' || processors="$processors processors"
        {
            echo
            echo "Welcome to Vivarium: Linux $(uname -r) on $processors. Leave with poweroff, or Ctrl-A x."
            echo
        } >"$tty"
        # A background job of this shell would ignore SIGINT for good. The outer setsid makes the inner one fork, so
        # that the session runs apart from this shell and with signals as they should be.
        setsid setsid -c sh -c 'sh -l; poweroff' <"$tty" >"$tty" 2>&1
        while :; do
            sleep 1000000 &
            wait
        done

        """;

    /// <summary>What the login shell reads: a prompt that says where one is.</summary>
    public const string Profile = """
        cd
        export PS1='\u@\h:\w\$ '

        """;

    private const uint Executable = 0x1ED; // 0755
    private const uint Readable = 0x1A4; // 0644
    private const string Busybox = "bin/busybox";

    /// <summary>Those of the applets too, which busybox does not make.</summary>
    private static readonly string[] s_folders = ["proc", "sys", "dev", "tmp", "root", "run", "var", "mnt", "sbin", "usr", "usr/bin", "usr/sbin"];

    /// <param name="busybox">The static busybox of the guest.</param>
    public static byte[] Build(string busybox)
    {
        return InitramfsBuilder.Build(archive =>
        {
            foreach (string folder in s_folders)
            {
                archive.Directory(folder);
            }

            archive.File(Busybox, File.ReadAllBytes(busybox), Executable);
            archive.Symlink("bin/sh", "/" + Busybox);
            archive.File("init", Init, Executable);
            archive.File("etc/profile", Profile, Readable);
            archive.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", Readable);
            archive.File("etc/group", "root:x:0:\n", Readable);
        });
    }
}
