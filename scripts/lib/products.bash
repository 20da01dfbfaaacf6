# Release builds, made only when something changed, and never under a system that runs; source after common.bash.
#
# COUNTERFLOW_BINARIES names a folder with executables that are used as they are, such as .build/debug.

# What a build is made from: every file of the sources, tracked or not, and the toolchain.
source_hash() {
  {
    swift --version 2>/dev/null
    cd "$root" && find Package.swift Package.resolved Sources Benchmarks -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum
  } | sha256sum | cut -d' ' -f1
}

# exclusively FILE TEXT COMMAND…: one at a time of those who name the file; says the text when it has to wait.
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

# swift_build [ARGUMENT…]: `swift build`, once nobody else builds in this checkout. Its output is in log/build.log.
swift_build() {
  local waited=false
  # Two builds at once take turns by a lock of Swift's own, unless one is at a place where it has none.
  until (cd "$root" && swift build "$@") >"$log_dir/build.log" 2>&1; do
    grep -q 'database is locked' "$log_dir/build.log" || {
      tail -n 40 "$log_dir/build.log" >&2
      fail "the build failed; all of it is in $log_dir/build.log"
    }
    $waited || say 'another build uses this checkout; waiting for it'
    waited=true
    sleep 2
  done
}

# Builds what is not there as of these sources; the results stand in .build/products, each with what it was made from.
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
    # Sources that changed meanwhile may be in it or not: then it is built again the next time.
    if [[ $(source_hash) == "$hash" ]]; then echo "$hash" >"$kept/$product.hash"; else rm -f "$kept/$product.hash"; fi
  done
}

# have_products PRODUCT…: sets $binaries to the folder where they are. A file there is replaced as a whole: who runs the
# one before goes on with that.
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
    fail "the packages were not found; see $log_dir/build.log"
  exclusively "$root/.build/scripts.lock" 'another script builds in this checkout; waiting for it' install_products "$(source_hash)" "$@"
}

install_products() { # HASH PRODUCT…
  local product
  build_products "$@"
  shift
  mkdir -p "$binaries"
  for product in "$@"; do
    [[ ! $binaries/$product -ef $root/.build/products/$product ]] || continue
    # The same file under two names, or a copy where the two are on different disks. What a script that was ended has left
    # may be a name of another's executable: it is not written to.
    rm -f "$binaries/$product.new"
    cp -l "$root/.build/products/$product" "$binaries/$product.new" 2>/dev/null ||
      cp "$root/.build/products/$product" "$binaries/$product.new"
    mv "$binaries/$product.new" "$binaries/$product"
  done
}
