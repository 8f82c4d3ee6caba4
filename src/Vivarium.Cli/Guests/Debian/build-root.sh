#!/bin/sh
# Makes a Debian root disk from Debian's packages, and takes its kernels and initrds out of it.
#
# Runs in a mount and process namespace of its own (so that nothing of it outlives its first process), as root or as the
# root of a user namespace. From the environment:
#
#   WORK      empty folder; afterwards it holds disk.raw, vmlinuz-VERSION, initrd.img-VERSION, ssh_host_ed25519_key.pub
#   SUITE     Debian suite
#   KERNELS   kernel packages, separated by blanks
#   SIZE      size of the disk in MiB
#   PASSWORD  of root and of the user debian
# and $WORK/ssh_key.pub, who may log in; $WORK/sources.list, where packages come from (absent: mmdebstrap's default).
#
# A line "@phase TEXT" on stdout begins a phase. All else that it says is a log.
set -eu
exec 2>&1
tree=$WORK/tree
export LC_ALL=C DEBIAN_FRONTEND=noninteractive TMPDIR=/tmp
# The packages would make each initrd twice; it is made once, when all is configured.
export INITRD=No

# The host's own way to the mirrors.
proxy=$(apt-config dump --format '%v' Acquire::http::Proxy 2>/dev/null || true)
if [ -n "$proxy" ]; then export http_proxy="$proxy"; fi

# What must be there before initrds are made. The disk may sit on any bus.
prepare='
    set -e
    mkdir -p "$1/etc/initramfs-tools/conf.d"
    printf "LABEL=debian / ext4 errors=remount-ro 0 1\n" >"$1/etc/fstab"
    printf "MODULES=most\nCOMPRESS=zstd\nFSTYPE=ext4\n" >"$1/etc/initramfs-tools/conf.d/root"
    printf "%s\n" virtio_mmio virtio_pci virtio_blk virtio_net virtio_console virtio_rng ext4 >"$1/etc/initramfs-tools/modules"

    # Debian tells udevd to end and does not wait until it has. What that still makes and removes in /dev makes run-init fail at times,
    # and the kernel panics (Debian bug 1056564).
    mkdir -p "$1/etc/initramfs-tools/scripts/init-bottom"
    cat >"$1/etc/initramfs-tools/scripts/init-bottom/await-end" <<"END"
#!/bin/sh
if [ "$1" = prereqs ]; then echo udev; exit; fi
tries=0
while [ "$tries" -lt 100 ]; do
    running=
    for comm in /proc/[0-9]*/comm; do
        if read -r name <"$comm"; then case $name in *udevd|*udev-worker*) running=yes ;; esac; fi
    done
    [ "$running" ] || break
    sleep 0.05
    tries=$((tries + 1))
done 2>/dev/null
END
    chmod 755 "$1/etc/initramfs-tools/scripts/init-bottom/await-end"
'

configure='
    set -e
    printf "debian\n" >"$1/etc/hostname"
    printf "127.0.0.1 localhost\n127.0.1.1 debian\n::1 localhost ip6-localhost ip6-loopback\n" >"$1/etc/hosts"
    printf "LANG=C.UTF-8\n" >"$1/etc/default/locale"
    printf "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n" >"$1/etc/systemd/network/80-ethernet.network"
    chroot "$1" systemctl -q enable systemd-networkd systemd-resolved

    chroot "$1" useradd --create-home --shell /bin/bash --groups sudo,adm,systemd-journal debian
    printf "%s:%s\n" root "$PASSWORD" debian "$PASSWORD" | chroot "$1" chpasswd
    printf "debian ALL=(ALL) NOPASSWD: ALL\n" >"$1/etc/sudoers.d/debian"
    chmod 440 "$1/etc/sudoers.d/debian"
    for home in root home/debian; do
        mkdir -p -m 700 "$1/$home/.ssh"
        cp "$WORK/ssh_key.pub" "$1/$home/.ssh/authorized_keys"
        chmod 600 "$1/$home/.ssh/authorized_keys"
    done
    chroot "$1" chown -R debian:debian /home/debian/.ssh

    echo "@phase making the initrd"
    chroot "$1" update-initramfs -c -k all

    # Filled anew by each machine at its start.
    : >"$1/etc/machine-id"
    rm -f "$1/var/lib/dbus/machine-id"
    ln -sf /etc/machine-id "$1/var/lib/dbus/machine-id"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"
'

echo "@phase fetching the package lists"
set -- --mode=root --variant=minbase --verbose \
    --aptopt='Acquire::Retries "3"' \
    --dpkgopt=force-unsafe-io \
    --include=systemd-sysv,libpam-systemd,udev,dbus,systemd-resolved,openssh-server,sudo \
    --include=iproute2,iputils-ping,netbase,ca-certificates,curl,e2fsprogs,procps,less,vim-tiny,nano,zstd,initramfs-tools \
    --include="$(echo "$KERNELS" | tr ' ' ,)" \
    --essential-hook="$prepare" \
    --customize-hook="$configure" \
    "$SUITE" "$tree"
if [ -e "$WORK/sources.list" ]; then set -- "$@" "$WORK/sources.list"; fi
mmdebstrap "$@"

echo "@phase making the disk"
# Options that were for the build alone.
rm -f "$tree/etc/apt/apt.conf.d/99mmdebstrap" "$tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$tree/etc/resolv.conf.bak"
for kernel in "$tree"/boot/vmlinuz-*; do
    version=${kernel##*/vmlinuz-}
    cp "$kernel" "$WORK/vmlinuz-$version"
    cp "$tree/boot/initrd.img-$version" "$WORK/initrd.img-$version"
done
cp "$tree/etc/ssh/ssh_host_ed25519_key.pub" "$WORK/"
# The tables are zeroed already (the file is sparse), so the guest's kernel need not do it in the background.
mke2fs -q -t ext4 -L debian -E lazy_itable_init=0,lazy_journal_init=0 -d "$tree" "$WORK/disk.raw" "${SIZE}M"
if [ -z "${KEEP_TREE:-}" ]; then rm -rf "$tree"; fi
