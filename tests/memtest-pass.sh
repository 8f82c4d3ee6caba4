#!/bin/bash
# A full pass of Memtest86+ (32 and 64 bit, from Debian's package memtest86+) in 16 MB on a classic PC, which must find no error.
# It takes some minutes, so ./test leaves it out. Usage: tests/memtest-pass.sh [FOLDER with memtest86+x64.bin and memtest86+ia32.bin]
set -u
cd "$(dirname "$0")/.." || exit 1
folder=${1:-/boot}
status=0
for bits in ia32 x64; do
  name=memtest-$bits-$$
  ./viv run -d --virt full --name "$name" --kernel "$folder/memtest86+$bits.bin" --memory 16M >/dev/null || exit 1
  begin=$SECONDS
  if ./viv expect "$name" --regex 'Pass: +[1-9]' --timeout 20m >/dev/null && ./viv expect "$name" --regex 'Errors: +0 *$' --timeout 5s >/dev/null; then
    echo "Memtest86+ $bits: a pass without errors in $((SECONDS - begin)) s"
  else
    echo "Memtest86+ $bits: FAILED"
    status=1
  fi
  ./viv kill "$name"
done
exit $status
