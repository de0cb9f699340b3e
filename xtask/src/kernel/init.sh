#!/busybox/sh
# The first process of the virtual machine: makes it a place where the lab can run, runs the test programs, switches it off.
# What the kernel says goes to the first serial line; the second is for what is said here.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/busybox
# Everything is in memory already; the workspace may be anywhere, so nothing else is mounted over it.
/busybox/busybox mkdir -p /proc /sys /dev /run /tmp
/busybox/busybox mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/ttyS1 2>&1
/busybox/busybox --install -s /busybox
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
for module in /modules/*; do
    insmod "$module" || echo "cannot load $module"
done
echo "rollcall-vm kernel $(uname -r)"
test_program() {
    name=$1
    shift
    echo "rollcall-vm begin $name"
    "$@"
    echo "rollcall-vm end $name $?"
}
. /tests.sh
echo "rollcall-vm done"
poweroff -f
