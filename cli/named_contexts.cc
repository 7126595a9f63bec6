#include "cli/named_contexts.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "cli/build_files.h"
#include "cli/exit_code.h"
#include "oci/layout_reader.h"
#include "oci/reference.h"
#include "plan/remote_context.h"

namespace farm {
namespace {

absl::Status ReadImage(absl::string_view reference, ContextFlag& flag) {
  flag.context.kind = NamedContext::Kind::kImage;
  flag.context.image = std::string(reference);
  if (reference == "scratch") return absl::OkStatus();
  return Reference::Parse(reference).status();
}

// Cuts what follows the last `mark` off a path, unless the path is that of a directory, as a
// directory goes before all other meanings of its name, or the mark is within its directories.
std::optional<std::string> CutSuffix(char mark, absl::string_view& path) {
  const size_t at = path.rfind(mark);
  std::error_code error;
  if (at == absl::string_view::npos || path.find('/', at) != absl::string_view::npos ||
      std::filesystem::is_directory(std::string(path), error)) {
    return std::nullopt;
  }
  std::string suffix(path.substr(at + 1));
  path = path.substr(0, at);
  return suffix;
}

// DIRECTORY[:TAG][@DIGEST]
absl::Status ReadLayout(absl::string_view value, ContextFlag& flag) {
  std::optional<std::string> digest = CutSuffix('@', value);
  const std::string tag = CutSuffix(':', value).value_or("latest");
  if (value.empty() || tag.empty()) {
    return absl::InvalidArgumentError("expected oci-layout://DIRECTORY[:TAG][@sha256:DIGEST]");
  }
  flag.layout = std::string(value);
  const LayoutReader layout(flag.layout);
  if (digest.has_value()) {
    RETURN_IF_ERROR(Digest::FromOci(*digest, 0).status()) << "digest";
    RETURN_IF_ERROR(AsLocalError(layout.CheckBlob(*digest)));
  } else {
    ASSIGN_OR_RETURN(digest, layout.DigestOfTag(tag), AsLocalError(_));
  }
  ASSIGN_OR_RETURN(const Reference name, Reference::Parse(flag.name));
  ASSIGN_OR_RETURN(const Reference pinned, name.RepositoryOnly().WithDigest(*digest));
  flag.context.kind = NamedContext::Kind::kImage;
  flag.context.image = pinned.familiar();
  return absl::OkStatus();
}

absl::Status ReadValue(const std::string& value, ContextFlag& flag) {
  absl::string_view rest = value;
  if (absl::ConsumePrefix(&rest, "docker-image://")) return ReadImage(rest, flag);
  if (absl::ConsumePrefix(&rest, "oci-layout://")) return ReadLayout(rest, flag);
  if (absl::StartsWith(value, "target:")) {
    return absl::InvalidArgumentError(
        "a target is one of a bake file, which farm build does not read; name a directory, "
        "docker-image://REFERENCE or a URL");
  }
  std::error_code error;
  if (const std::string url = RemoteContextUrl(value);
      !url.empty() && !std::filesystem::exists(value, error)) {
    flag.context.kind = NamedContext::Kind::kRemote;
    ASSIGN_OR_RETURN(flag.context.remote, RemoteContext(url));
    return absl::OkStatus();
  }
  if (absl::StrContains(value, "://")) {
    return absl::InvalidArgumentError(
        "expected a directory, docker-image://REFERENCE, oci-layout://DIRECTORY, or an http, https "
        "or git URL");
  }
  flag.directory = value;
  return AsLocalError(CheckContextDirectory(value));
}

}  // namespace

absl::StatusOr<std::vector<ContextFlag>> ReadContextFlags(const std::vector<std::string>& texts) {
  std::vector<ContextFlag> flags;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--build-context ", RedactUrls(text), ": expected NAME=VALUE"));
    }
    ContextFlag flag;
    ASSIGN_OR_RETURN(flag.name, ContextName(text.substr(0, equals)), _ << "--build-context");
    RETURN_IF_ERROR(ReadValue(text.substr(equals + 1), flag))
        << "--build-context " << (flag.layout.empty() ? RedactUrls(text) : text);
    const auto same = std::find_if(flags.begin(), flags.end(), [&](const ContextFlag& other) {
      return other.name == flag.name;
    });
    if (same == flags.end()) {
      flags.push_back(std::move(flag));
    } else {
      *same = std::move(flag);
    }
  }
  for (size_t i = 0; i < flags.size(); ++i) flags[i].context.index = static_cast<int>(i) + 1;
  return flags;
}

std::map<std::string, NamedContext> NamedContextsOf(const std::vector<ContextFlag>& flags) {
  std::map<std::string, NamedContext> contexts;
  for (const ContextFlag& flag : flags) contexts[flag.name] = flag.context;
  return contexts;
}

}  // namespace farm
