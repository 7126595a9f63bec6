"""Libraries and protobuf tools that the operating system provides.

`system_libs` asks pkg-config where each library is and makes one cc_library a
library: @system//:grpc++, @system//:rocksdb, ... A missing one does not stop
the build of a target that does not use it.
"""

# target: (pkg-config modules, Debian package). To use a new library, add a line.
_LIBS = {
    "absl": (["absl_base", "absl_cord", "absl_flags", "absl_flags_parse", "absl_flags_usage", "absl_flat_hash_map", "absl_flat_hash_set", "absl_hash", "absl_random_random", "absl_stacktrace", "absl_failure_signal_handler", "absl_status", "absl_statusor", "absl_str_format", "absl_strings", "absl_symbolize", "absl_synchronization", "absl_time"], "libabsl-dev"),
    "benchmark": (["benchmark"], "libbenchmark-dev"),
    "cli11": (["CLI11"], "libcli11-dev"),
    "cpp-httplib": (["cpp-httplib"], "libcpp-httplib-dev"),
    "gmock_main": (["gmock_main", "gmock", "gtest"], "libgmock-dev"),
    "grpc++": (["grpc++", "protobuf"], "libgrpc++-dev"),
    "isal": (["libisal"], "libisal-dev"),
    "libarchive": (["libarchive"], "libarchive-dev"),
    "libcap": (["libcap"], "libcap-dev"),
    "libcurl": (["libcurl"], "libcurl4-openssl-dev"),
    "libdeflate": (["libdeflate"], "libdeflate-dev"),
    "libmnl": (["libmnl"], "libmnl-dev"),
    "libnftables": (["libnftables"], "libnftables-dev"),
    "libseccomp": (["libseccomp"], "libseccomp-dev"),
    "nlohmann_json": (["nlohmann_json"], "nlohmann-json3-dev"),
    "openssl": (["openssl"], "libssl-dev"),
    "prometheus-cpp": (["prometheus-cpp-core", "prometheus-cpp-pull"], "prometheus-cpp-dev"),
    "protobuf": (["protobuf"], "libprotobuf-dev"),
    "re2": (["re2"], "libre2-dev"),
    "rocksdb": (["rocksdb"], "librocksdb-dev"),
    "yaml-cpp": (["yaml-cpp"], "libyaml-cpp-dev"),
    "zlib": (["zlib"], "zlib1g-dev"),
    "zstd": (["libzstd"], "libzstd-dev"),
}

# Installed beside a library above, but without a pkg-config file of their own.
_EXTRA_LINKOPTS = {
    "grpc++": ["-lgrpc++_reflection", "-lgrpcpp_channelz"],
}

# With --define=link=static these libraries, whose soname differs from one
# distribution to the next, become part of the program.
_STATIC_PREFIXES = ["absl_", "address_sorting", "gpr", "grpc", "protobuf", "re2", "rocksdb", "snappy", "upb"]

# What librocksdb.so links itself, and librocksdb.a leaves to the program.
_STATIC_EXTRA_LINKOPTS = {
    "rocksdb": ["-lsnappy", "-llz4", "-lbz2", "-lzstd", "-lz"],
}

_TOOLS = {
    "protoc": "protobuf-compiler",
    "grpc_cpp_plugin": "protobuf-compiler-grpc",
}

# The compiler looks here without being told.
_DEFAULT_INCLUDES = ["/usr/include", "/usr/local/include"]

_HEADER = """load("@rules_cc//cc:defs.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])

config_setting(
    name = "static",
    values = {"define": "link=static"},
)
"""

_CC_LIBRARY = """
cc_library(
    name = "{name}",
    hdrs = glob({globs}, allow_empty = True),
    defines = {defines},
    includes = {includes},
    linkopts = select({{
        ":static": {static_linkopts},
        "//conditions:default": {linkopts},
    }}),
)
"""

# A library that is not installed fails when something uses it, not before.
_MISSING = """
genrule(
    name = "{name}_missing",
    outs = ["{name}_missing.h"],
    cmd = "echo >&2 'ERROR: {what} not found. On Debian or Ubuntu: apt-get install {package}'; exit 1",
)
"""

_MISSING_LIBRARY = _MISSING + """
cc_library(
    name = "{name}",
    hdrs = [":{name}_missing"],
)
"""

_MISSING_TOOL = _MISSING + """
alias(
    name = "{name}",
    actual = ":{name}_missing",
)
"""

def _static_linkopt(flag):
    for prefix in _STATIC_PREFIXES:
        if flag.startswith("-l" + prefix):
            return "-l:lib%s.a" % flag[2:]
    return flag

def _library(ctx, pkg_config, name, modules, package):
    result = ctx.execute([pkg_config, "--cflags", "--libs"] + modules)
    if result.return_code != 0:
        return _MISSING_LIBRARY.format(name = name, what = "pkg-config module " + " ".join(modules), package = package)
    defines, includes, linkopts = [], [], []
    for flag in result.stdout.strip().split(" "):
        path = flag[2:]
        if flag.startswith("-D"):
            defines.append(path)
        elif flag.startswith("-I"):
            if path not in _DEFAULT_INCLUDES and path not in includes:
                includes.append(path)
        elif flag.startswith("-l") or flag.startswith("-L") or flag.startswith("-Wl,") or flag == "-pthread":
            linkopts.append(flag)
    links = []
    for i, path in enumerate(includes):
        links.append("include/%s/%d" % (name, i))
        ctx.symlink(path, links[-1])
    linkopts = _EXTRA_LINKOPTS.get(name, []) + linkopts
    static_linkopts = [_static_linkopt(flag) for flag in linkopts + _STATIC_EXTRA_LINKOPTS.get(name, [])]
    return _CC_LIBRARY.format(
        name = name,
        globs = [link + "/**" for link in links],
        defines = defines,
        includes = links,
        # Debian's libraries come in many pieces (88 for gRPC): link those used.
        linkopts = ["-Wl,--as-needed"] + linkopts,
        static_linkopts = ["-Wl,--as-needed", "-Wl,--start-group"] + static_linkopts + ["-Wl,--end-group"],
    )

def _tool(ctx, name, package):
    path = ctx.which(name)
    if not path:
        return _MISSING_TOOL.format(name = name, what = name, package = package)
    ctx.symlink(path, name)
    return 'exports_files(["%s"])\n' % name

def _system_libs_impl(ctx):
    pkg_config = ctx.which("pkg-config")
    if not pkg_config:
        fail("pkg-config not found. On Debian or Ubuntu: apt-get install pkg-config")
    build = _HEADER
    for name, (modules, package) in _LIBS.items():
        build += _library(ctx, pkg_config, name, modules, package)
    for name, package in _TOOLS.items():
        build += _tool(ctx, name, package)
    ctx.file("BUILD.bazel", build)

system_libs = repository_rule(
    implementation = _system_libs_impl,
    local = True,
    configure = True,
    environ = ["PATH", "PKG_CONFIG_PATH"],
)
