#include "plan/step_key.h"

#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/redact_url.h"
#include "base/sha256.h"

namespace farm {
namespace {

// Part of every key. A change of the encoding, or of what a step does with equal fields, is a new
// one.
constexpr absl::string_view kVersion = "farm step key 2";

// KeyPart::shown is for one line on a person's screen.
constexpr size_t kShownBytesMax = 200;

// Bytes that can be read back in one way only: lengths before texts, counts before lists.
class Encoder {
 public:
  Encoder& Number(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8)
      bytes_.push_back(static_cast<char>(number >> shift));
    return *this;
  }
  Encoder& Text(absl::string_view text) {
    Number(text.size());
    bytes_.append(text.data(), text.size());
    return *this;
  }
  template <typename Texts>
  Encoder& List(const Texts& texts) {
    Number(texts.size());
    for (const auto& text : texts) Text(text);
    return *this;
  }
  Encoder& Flag(bool flag) {
    bytes_.push_back(flag ? '\1' : '\0');
    return *this;
  }
  Encoder& Raw(absl::string_view bytes) {
    bytes_.append(bytes.data(), bytes.size());
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::string Shortened(std::string text) {
  if (text.size() <= kShownBytesMax) return text;
  size_t end = kShownBytesMax - 3;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;  // Never inside a UTF-8 sequence.
  text.resize(end);
  return text + "...";
}

class KeyBuilder {
 public:
  explicit KeyBuilder(absl::string_view operation) : operation_(operation) {
    Add("operation", Encoder().Text(operation), std::string(operation));
  }

  // `label` is hashed. `about` and `shown` are for people: they may tell what is not in the key,
  // such as where in the source a file was found.
  void Add(absl::string_view label, const Encoder& value, std::string shown,
           absl::string_view about = "") {
    v1::KeyPart& part = key_.parts.emplace_back();
    const Digest digest = DigestOf(value.bytes());
    part.set_name(about.empty() ? std::string(label) : absl::StrCat(label, " ", about));
    part.set_digest(std::string(digest.raw()));
    part.set_shown(Shortened(std::move(shown)));
    hashed_.Text(label).Raw(digest.raw());
  }

  StepKey Finish() {
    Encoder all;
    all.Text(kVersion).Text(operation_).Number(key_.parts.size()).Raw(hashed_.bytes());
    key_.digest = Digest(DigestOf(all.bytes()).hash(), 0);
    return std::move(key_);
  }

 private:
  const std::string operation_;
  Encoder hashed_;
  StepKey key_;
};

// A hash decides alone, so sizes are left out: some callers know them and some do not.
Encoder BlobValue(const v1::Descriptor& blob) {
  return Encoder().Text(blob.media_type()).Text(blob.digest().hash());
}

void AddPlatform(const v1::Platform& platform, KeyBuilder& key) {
  key.Add("platform",
          Encoder().Text(platform.os()).Text(platform.architecture()).Text(platform.variant()),
          absl::StrCat(platform.os(), "/", platform.architecture(),
                       platform.variant().empty() ? "" : "/", platform.variant()));
}

void AddParent(const Digest& chain_id, KeyBuilder& key) {
  const bool none = chain_id.hash() == Digest::Hash{};
  key.Add("parent", Encoder().Raw(chain_id.raw()), none ? "scratch" : chain_id.hex());
}

// Values of secrets are in no key.
void AddMount(const v1::RunMount& mount, KeyBuilder& key) {
  Encoder value = Encoder()
                      .Text(v1::RunMount::Kind_Name(mount.kind()))
                      .Text(mount.target())
                      .Flag(mount.read_only())
                      .Text(mount.content().hash())
                      .Text(mount.kind() == v1::RunMount::KIND_CACHE ? mount.path() : "")
                      .Text(mount.id())
                      .Text(v1::RunMount::Sharing_Name(mount.sharing()))
                      .Number(mount.uid())
                      .Number(mount.gid())
                      .Number(mount.mode())
                      .Number(static_cast<uint64_t>(mount.size_bytes()))
                      .Flag(mount.required())
                      .Text(mount.env())
                      .Text(mount.contents());
  if (mount.kind() == v1::RunMount::KIND_CACHE && mount.has_content()) {
    // Unset, they are those of what the cache begins with.
    value.Flag(mount.has_uid()).Flag(mount.has_gid()).Flag(mount.has_mode());
  }
  const std::string about = mount.target().empty() ? mount.id() : mount.target();
  key.Add("mount", value, mount.content().hash().empty() ? about : mount.content().hash(), about);
}

void AddUlimits(const v1::RunOperation& run, KeyBuilder& key) {
  Encoder value;
  value.Number(static_cast<uint64_t>(run.ulimits_size()));
  std::vector<std::string> shown;
  for (const v1::Ulimit& ulimit : run.ulimits()) {
    value.Text(ulimit.name())
        .Number(static_cast<uint64_t>(ulimit.soft()))
        .Number(static_cast<uint64_t>(ulimit.hard()));
    shown.push_back(absl::StrCat(ulimit.name(), "=", ulimit.soft(), ":", ulimit.hard()));
  }
  key.Add("list of ulimits", value, absl::StrJoin(shown, " "));
}

void AddRun(const v1::RunOperation& run, KeyBuilder& key) {
  key.Add("command", Encoder().List(run.args()), absl::StrJoin(run.args(), " "));
  for (const std::string& variable : run.env()) {
    // The name alone is shown: a value may be a token that a person passed as a build argument.
    const std::string name = variable.substr(0, variable.find('='));
    key.Add("variable", Encoder().Text(variable), name, name);
  }
  key.Add("working directory", Encoder().Text(run.cwd()), run.cwd());
  key.Add("user", Encoder().Text(run.user()), run.user());
  const std::string network = v1::NetworkMode_Name(run.network());
  key.Add("network", Encoder().Text(network), network);
  for (const v1::RunMount& mount : run.mounts()) {
    FARM_CHECK(mount.source() < 0 || mount.has_content())
        << "the mounts of a RUN are not resolved: " << mount.target();
    AddMount(mount, key);
  }
  if (run.insecure()) key.Add("security", Encoder().Text("insecure"), "insecure");
  if (run.extra_host_names_size() > 0) {
    key.Add("list of extra hosts", Encoder().List(run.extra_host_names()),
            absl::StrJoin(run.extra_host_names(), " "));
  }
  if (run.shm_bytes() > 0) {
    key.Add("size of /dev/shm", Encoder().Number(static_cast<uint64_t>(run.shm_bytes())),
            absl::StrCat(run.shm_bytes()));
  }
  if (run.ulimits_size() > 0) AddUlimits(run, key);
  if (!run.hostname().empty()) key.Add("host name", Encoder().Text(run.hostname()), run.hostname());
}

void AddCopy(const v1::CopyOperation& copy, KeyBuilder& key) {
  key.Add("destination", Encoder().Text(copy.dest()), copy.dest());
  key.Add("ownership", Encoder().Text(copy.chown()), copy.chown());
  key.Add("mode", Encoder().Text(copy.chmod()), copy.chmod());
  for (const v1::CopyItem& item : copy.items()) {
    if (item.has_inline_()) {
      key.Add("inline file", Encoder().Text(item.name()).Text(item.inline_()), item.name(),
              item.name());
      continue;
    }
    FARM_CHECK(item.has_content()) << "the items of a COPY are not resolved: " << item.path();
    const Encoder value =
        Encoder().Text(item.name()).Flag(item.unpack_archive()).Text(item.content().hash());
    key.Add("source", value, item.content().hash(), item.path().empty() ? "/" : item.path());
  }
}

void AddOperation(const v1::StepIdentity& identity, const Digest& parent, KeyBuilder& key) {
  switch (identity.operation_case()) {
    case v1::StepIdentity::kRun:
      // What a command does depends on it; what is copied or made, on its inputs alone.
      AddPlatform(identity.platform(), key);
      AddParent(parent, key);
      return AddRun(identity.run(), key);
    case v1::StepIdentity::kCopy:
      AddParent(parent, key);
      return AddCopy(identity.copy(), key);
    case v1::StepIdentity::kMakeDirectory: {
      const v1::MakeDirectoryOperation& make = identity.make_directory();
      AddParent(parent, key);
      key.Add("directory", Encoder().Text(make.path()), make.path());
      key.Add("ownership", Encoder().Text(make.user()), make.user());
      return;
    }
    case v1::StepIdentity::kUnpack: {
      const v1::UnpackOperation& unpack = identity.unpack();
      key.Add("blob", BlobValue(unpack.blob()), unpack.blob().digest().hash());
      key.Add("diffID", Encoder().Text(unpack.diff_id()), unpack.diff_id());
      return;
    }
    case v1::StepIdentity::kCompress: {
      const v1::CompressOperation& compress = identity.compress();
      key.Add("diffID", Encoder().Text(compress.diff_id()), compress.diff_id());
      key.Add("compression", Encoder().Text(compress.compression()), compress.compression());
      return;
    }
    case v1::StepIdentity::kPush: {
      const v1::PushOperation& push = identity.push();
      key.Add("blob", BlobValue(push.blob()), push.blob().digest().hash());
      key.Add("repository", Encoder().Text(push.repository()), push.repository());
      key.Add("mount from", Encoder().Text(push.mount_from()), push.mount_from());
      return;
    }
    case v1::StepIdentity::kFlatten: {
      const v1::FlattenOperation& flatten = identity.flatten();
      key.Add("layers", Encoder().List(flatten.diff_ids()),
              absl::StrCat(flatten.diff_ids_size(), " layers"));
      return;
    }
    case v1::StepIdentity::kRewriteTimes: {
      const v1::RewriteTimesOperation& rewrite = identity.rewrite_times();
      key.Add("diffID", Encoder().Text(rewrite.diff_id()), rewrite.diff_id());
      key.Add("latest", Encoder().Text(absl::StrCat(rewrite.latest())),
              absl::StrCat(rewrite.latest()));
      return;
    }
    case v1::StepIdentity::kFetchFile: {
      const v1::FetchFileOperation& fetch = identity.fetch_file();
      // A file whose content is known is that file, wherever it lies.
      if (fetch.checksum().empty()) {
        key.Add("URL", Encoder().Text(fetch.url()), RedactUrls(fetch.url()));
      } else {
        key.Add("checksum", Encoder().Text(fetch.checksum()), fetch.checksum());
      }
      key.Add("name", Encoder().Text(fetch.file_name()), fetch.file_name());
      return;
    }
    case v1::StepIdentity::kResolveGit: {
      const v1::ResolveGitOperation& resolve = identity.resolve_git();
      key.Add("repository", Encoder().Text(resolve.remote()), RedactUrls(resolve.remote()));
      key.Add("reference", Encoder().Text(resolve.ref()), resolve.ref());
      return;
    }
    case v1::StepIdentity::kFetchGit: {
      const v1::FetchGitOperation& fetch = identity.fetch_git();
      key.Add("commit", Encoder().Text(fetch.commit()), fetch.commit());
      key.Add("subdirectory", Encoder().Text(fetch.subdir()), fetch.subdir());
      if (fetch.submodules()) key.Add("submodules", Encoder().Flag(true), "yes");
      if (!fetch.keep_git_dir()) return;
      // The directory .git names both.
      const std::string repository = RedactUrls(fetch.remote());
      key.Add("repository", Encoder().Text(repository), repository);
      key.Add("reference", Encoder().Text(fetch.ref()), fetch.ref());
      return;
    }
    case v1::StepIdentity::OPERATION_NOT_SET:
      FARM_CHECK(false) << "a step without an operation has no key";
  }
}

absl::string_view OperationName(const v1::StepIdentity& identity) {
  switch (identity.operation_case()) {
    case v1::StepIdentity::kRun:
      return "run";
    case v1::StepIdentity::kCopy:
      return "copy";
    case v1::StepIdentity::kMakeDirectory:
      return "make directory";
    case v1::StepIdentity::kUnpack:
      return "unpack";
    case v1::StepIdentity::kCompress:
      return "compress";
    case v1::StepIdentity::kPush:
      return "push";
    case v1::StepIdentity::kFlatten:
      return "flatten";
    case v1::StepIdentity::kRewriteTimes:
      return "rewrite times";
    case v1::StepIdentity::kFetchFile:
      return "fetch file";
    case v1::StepIdentity::kResolveGit:
      return "resolve git";
    case v1::StepIdentity::kFetchGit:
      return "fetch git";
    case v1::StepIdentity::OPERATION_NOT_SET:
      return "none";
  }
  return "none";
}

bool IsSource(const v1::KeyPart& part) { return part.name().rfind("source ", 0) == 0; }
bool IsMount(const v1::KeyPart& part) { return part.name().rfind("mount ", 0) == 0; }
bool IsVariable(const v1::KeyPart& part) { return part.name().rfind("variable ", 0) == 0; }

std::string Value(const v1::KeyPart& part) { return part.shown().empty() ? "none" : part.shown(); }

std::string ChangedSentence(const v1::KeyPart& now, const v1::KeyPart& before) {
  if (IsSource(now) || IsMount(now)) return absl::StrCat(now.name(), " has other content");
  if (IsVariable(now)) return absl::StrCat(now.name(), " has another value");
  if (now.name() == "parent") return "the files it starts from have changed";
  if (now.name() == "command") {
    return absl::StrCat("the command is another one: ", now.shown(), " (was: ", before.shown(),
                        ")");
  }
  return absl::StrCat("the ", now.name(), " is another one: ", Value(now), " (was: ", Value(before),
                      ")");
}

std::string AddedSentence(const v1::KeyPart& part) { return absl::StrCat(part.name(), " is new"); }
std::string GoneSentence(const v1::KeyPart& part) { return absl::StrCat(part.name(), " is gone"); }

}  // namespace

StepKey ComputeStepKey(const v1::StepIdentity& identity, const Digest& parent_chain_id) {
  KeyBuilder key(OperationName(identity));
  AddOperation(identity, parent_chain_id, key);
  return key.Finish();
}

std::vector<std::string> ExplainKey(const std::vector<v1::KeyPart>& now,
                                    const std::vector<v1::KeyPart>& before) {
  std::multimap<std::string, const v1::KeyPart*> unmatched;
  for (const v1::KeyPart& part : before) unmatched.emplace(part.name(), &part);

  std::vector<std::string> sentences;
  for (const v1::KeyPart& part : now) {
    const auto match = unmatched.lower_bound(part.name());
    if (match == unmatched.end() || match->first != part.name()) {
      sentences.push_back(AddedSentence(part));
      continue;
    }
    if (match->second->digest() != part.digest()) {
      sentences.push_back(ChangedSentence(part, *match->second));
    }
    unmatched.erase(match);
  }
  for (const auto& [name, part] : unmatched) sentences.push_back(GoneSentence(*part));

  if (sentences.empty()) {
    for (size_t i = 0; i < now.size(); ++i) {
      if (now[i].digest() == before[i].digest()) continue;
      sentences.push_back("its variables or sources come in another order");
      break;
    }
  }
  return sentences;
}

}  // namespace farm
