#!/bin/sh
# Copies a folder to a dated archive and keeps the last seven.
set -eu
source=${1:?usage: backup.sh FOLDER TARGET}
target=${2:?usage: backup.sh FOLDER TARGET}
name=$(basename "$source")-$(date +%Y-%m-%d).tar.gz
mkdir -p "$target"
tar -czf "$target/$name" -C "$(dirname "$source")" "$(basename "$source")"
ls -1t "$target"/*.tar.gz | tail -n +8 | while read -r old; do
  echo "removing $old"
  rm -- "$old"
done
echo "wrote $target/$name ($(du -h "$target/$name" | cut -f1))"
