#!/bin/sh
# Unpacks a bundle where there are a compiler and make, but neither Python nor TVM, and checks it.
#
#     sudo unshare --mount benchmarks/empty_root.sh resnet50-1.0.tar.gz
#
# In a mount namespace of its own, in which what may hold Python is hidden and the environment is
# empty. docs/results/deployment.md has what it prints.
set -e
[ "$(readlink /proc/self/ns/mnt)" != "$(readlink /proc/1/ns/mnt)" ] || {
  echo "run it by unshare --mount: it hides folders" >&2
  exit 2
}
mount --make-rprivate /
mount -t tmpfs none /mnt
cp "$1" /mnt/bundle.tar.gz
for folder in /root /home /opt /usr/local "$PWD"; do
  [ ! -d "$folder" ] || mount -t tmpfs none "$folder"
done
for python in /usr/bin/python3*; do
  [ ! -f "$python" ] || mount --bind /dev/null "$python"
done
for modules in /usr/lib/python3*; do
  [ ! -d "$modules" ] || mount -t tmpfs none "$modules"
done
cd /mnt
exec env -i PATH=/usr/bin:/bin sh -xc '
  python3 --version || true
  tar xzf bundle.tar.gz --strip-components=1
  make -s check
'
