# Release builds. A build runs only if something changed, and does not touch the executables of a running system. Source
# after common.bash.
#
# COUNTERFLOW_BINARIES names a folder with executables to use as they are, such as .build/debug.

# The hash of a build's inputs: every source file, tracked or not, and the toolchain.
source_hash() {
  {
    swift --version 2>/dev/null
    cd "$root" && find Package.swift Package.resolved Sources Benchmarks -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

# exclusively FILE TEXT COMMAND…: runs the command while it holds the lock FILE; prints TEXT if it has to wait.
exclusively() {
  local file=$1 text=$2
  shift 2
  mkdir -p "$(dirname "$file")"
  (
    flock -n 9 || {
      say "$text"
      flock 9
    }
    "$@" 9>&-
  ) 9>>"$file"
}

# swift_build [ARGUMENT…]: runs `swift build` as soon as no other build uses this checkout. Its output is in
# log/build.log.
swift_build() {
  local waited=false
  # SwiftPM mostly waits for another build by itself. In some phases it fails with "database is locked" instead.
  until (cd "$root" && swift build "$@") >"$log_dir/build.log" 2>&1; do
    grep -q 'database is locked' "$log_dir/build.log" || {
      tail -n 40 "$log_dir/build.log" >&2
      fail "the build failed; its output is in $log_dir/build.log"
    }
    $waited || say 'another build uses this checkout; waiting for it'
    waited=true
    sleep 2
  done
}

# Builds the products that do not match these sources into .build/products, each with the hash of its inputs.
build_products() { # HASH PRODUCT…
  local hash=$1 product missing=() kept=$root/.build/products from
  shift
  for product in "$@"; do
    [[ -x $kept/$product && $(cat "$kept/$product.hash" 2>/dev/null) == "$hash" ]] || missing+=("$product")
  done
  ((${#missing[@]})) || return 0
  say 'building (the first time takes some minutes)'
  [[ ! -e $root/.build/.lock ]] || flock -n "$root/.build/.lock" true || say 'another build uses this checkout; waiting for it'
  mkdir -p "$kept"
  for product in "${missing[@]}"; do
    swift_build -c release --product "$product"
    from=$(cd "$root" && swift build -c release --show-bin-path)/$product
    rm -f "$kept/$product.new"
    cp "$from" "$kept/$product.new"
    mv "$kept/$product.new" "$kept/$product"
    # Sources may have changed during the build. The next run then builds again.
    if [[ $(source_hash) == "$hash" ]]; then echo "$hash" >"$kept/$product.hash"; else rm -f "$kept/$product.hash"; fi
  done
}

# have_products PRODUCT…: sets $binaries to the folder of the products. Each file is replaced as a whole, so a running
# process keeps its executable.
have_products() {
  local product
  binaries=${COUNTERFLOW_BINARIES:-$local_dir/bin}
  if [[ -n ${COUNTERFLOW_BINARIES:-} ]]; then
    binaries=$(cd "$COUNTERFLOW_BINARIES" && pwd) || fail "COUNTERFLOW_BINARIES names no folder: $COUNTERFLOW_BINARIES"
    for product in "$@"; do
      [[ -x $binaries/$product ]] || fail "COUNTERFLOW_BINARIES: there is no $product in $binaries"
    done
    return
  fi
  [[ -e $root/Package.resolved ]] || (cd "$root" && swift package resolve) >"$log_dir/build.log" 2>&1 ||
    fail "the packages could not be resolved; see $log_dir/build.log"
  exclusively "$root/.build/scripts.lock" 'another script builds in this checkout; waiting for it' install_products "$(source_hash)" "$@"
}

install_products() { # HASH PRODUCT…
  local product
  build_products "$@"
  shift
  mkdir -p "$binaries"
  for product in "$@"; do
    [[ ! $binaries/$product -ef $root/.build/products/$product ]] || continue
    # A hard link, or a copy on another disk. A file left by an aborted script may be a link to another executable: it
    # is removed, not overwritten.
    rm -f "$binaries/$product.new"
    cp -l "$root/.build/products/$product" "$binaries/$product.new" 2>/dev/null ||
      cp "$root/.build/products/$product" "$binaries/$product.new"
    mv "$binaries/$product.new" "$binaries/$product"
  done
}
