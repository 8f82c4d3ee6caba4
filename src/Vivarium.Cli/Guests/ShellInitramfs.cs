using Vivarium.Firmware;

namespace Vivarium.Cli.Guests;

/// <summary>An initramfs around one static busybox: every applet as a link, and an init that gives a shell with job control.</summary>
internal static class ShellInitramfs
{
    /// <summary>
    /// Process 1. The applets poweroff, halt and reboot signal it (USR2, USR1, TERM, as busybox's own init takes them);
    /// the shell gets the console as its controlling terminal, so that Ctrl-C and job control work.
    /// </summary>
    public const string Init = """
        #!/bin/sh
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t devtmpfs devtmpfs /dev 2>/dev/null
        mkdir -p /dev/pts
        mount -t devpts devpts /dev/pts
        mount -t tmpfs tmpfs /tmp
        hostname vivarium
        trap 'poweroff -f' USR1 USR2
        trap 'reboot -f' TERM
        trap '' INT QUIT TSTP HUP
        read -r consoles </sys/class/tty/console/active
        tty=/dev/${consoles##* }
        [ -c "$tty" ] || tty=/dev/console
        {
            echo
            echo "Welcome to Vivarium: Linux $(uname -r) on one processor. Leave with poweroff, or Ctrl-A x."
            echo
        } >"$tty"
        cd /root
        setsid -c sh -l <"$tty" >"$tty" 2>&1 &
        shell=$!
        while kill -0 $shell 2>/dev/null; do wait $shell; done
        poweroff -f

        """;

    /// <summary>What sh -l reads: a prompt that says where one is.</summary>
    private const string Profile = """
        export PS1='\u@\h:\w\$ ' ENV=/etc/shrc

        """;

    private static readonly string[] Folders = ["bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "var", "mnt"];

    public static byte[] Build(byte[] busybox, string busyboxPath)
    {
        throw new NotImplementedException($"{busyboxPath}{busybox.Length}{Profile}{Folders}");
    }
}
