#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/source_position.h"
#include "dockerfile/parser.h"
#include "plan/lowering.h"

namespace farm {
namespace {

// The frontend that a file asks for; "" if none.
struct Syntax {
  std::string frontend;
  int line = 0;
};

// `//` in place of `#`: files that are no Dockerfiles have it, and BuildKit looks for it in all.
Syntax DetectSlashes(absl::string_view text) {
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (!absl::ConsumePrefix(&line, "//")) return {};
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits('=', 1));
    const std::string name = absl::AsciiStrToLower(absl::StripAsciiWhitespace(pair.first));
    if (name == "syntax") {
      return {std::string(absl::StripAsciiWhitespace(pair.second)), number};
    }
    if (name != "check" && name != "escape") return {};
  }
  return {};
}

Syntax DetectSyntax(const Dockerfile& file) {
  for (const ParserDirective& directive : file.directives) {
    if (directive.name == "syntax") {
      return {directive.value.substr(0, directive.value.find(' ')), directive.line};
    }
  }
  absl::string_view text = file.source->text();
  if (!absl::StartsWith(text, "#!")) return DetectSlashes(text);
  // A shebang is skipped.
  absl::StatusOr<DockerfileSource> rest = DockerfileSource::Create(
      file.source->file(),
      std::string(text.substr(std::min(text.find('\n'), text.size() - 1) + 1)));
  if (!rest.ok()) return {};
  const absl::StatusOr<Dockerfile> parsed = ParseDockerfile(*std::move(rest));
  if (!parsed.ok()) return {};
  for (const ParserDirective& directive : parsed->directives) {
    if (directive.name == "syntax") return {directive.value, directive.line + 1};
  }
  return {};
}

// docker/dockerfile with its registry or without, any release of 1, its labs, pinned or not.
bool IsBuiltIn(absl::string_view frontend) {
  absl::ConsumePrefix(&frontend, "index.docker.io/") ||
      absl::ConsumePrefix(&frontend, "docker.io/");
  if (!absl::ConsumePrefix(&frontend, "docker/dockerfile")) return false;
  const absl::string_view tag = frontend.substr(0, frontend.find('@'));
  if (tag.empty()) return true;
  for (const absl::string_view known : {":1", ":latest", ":labs"}) {
    absl::string_view rest = tag;
    if (absl::ConsumePrefix(&rest, known) && (rest.empty() || rest[0] == '.' || rest[0] == '-')) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::Status CheckSyntaxDirective(const Dockerfile& file, const PlanOptions& options) {
  Syntax syntax = DetectSyntax(file);
  if (const auto given = options.build_args.find("BUILDKIT_SYNTAX");
      given != options.build_args.end()) {
    syntax = {.frontend = given->second, .line = 0};
  }
  if (syntax.frontend.empty() || IsBuiltIn(syntax.frontend)) return absl::OkStatus();
  return UnsupportedAt(file, {file.source->file(), syntax.line, syntax.line > 0 ? 1 : 0},
                       absl::StrCat("the syntax ", syntax.frontend),
                       "; farm reads docker/dockerfile:1 by itself");
}

absl::Status UnsupportedAt(const Dockerfile& file, const SourcePosition& position,
                           absl::string_view what, absl::string_view hint) {
  return WithCode(absl::StatusCode::kUnimplemented,
                  file.source->Error(position, absl::StrCat(what, " is not supported yet", hint)));
}

}  // namespace farm
