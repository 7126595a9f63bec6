#include "dockerfile/mount.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

const SourcePosition kPosition{.file = "Dockerfile", .line = 3, .column = 5};

TEST(MountTest, BindIsTheDefaultAndReadOnly) {
  ASSERT_OK_AND_ASSIGN(Mount mount, ParseMount("target=/x", kPosition));
  EXPECT_EQ(mount.type, Mount::Type::kBind);
  EXPECT_EQ(mount.target, "/x");
  EXPECT_TRUE(mount.read_only);
  EXPECT_EQ(mount.from, "");
}

TEST(MountTest, KeysHaveShortNames) {
  ASSERT_OK_AND_ASSIGN(Mount mount, ParseMount("type=bind,dst=/x,src=/y,from=base,rw", kPosition));
  EXPECT_EQ(mount.target, "/x");
  EXPECT_EQ(mount.source, "/y");
  EXPECT_EQ(mount.from, "base");
  EXPECT_FALSE(mount.read_only);
  ASSERT_OK_AND_ASSIGN(mount, ParseMount("destination=/z,source=.", kPosition));
  EXPECT_EQ(mount.target, "/z");
  EXPECT_EQ(mount.source, ".");
}

TEST(MountTest, CacheHasSharingAndOwner) {
  ASSERT_OK_AND_ASSIGN(
      Mount mount,
      ParseMount("type=cache,target=/c,id=go,sharing=LOCKED,uid=1,gid=2,mode=0700", kPosition));
  EXPECT_EQ(mount.type, Mount::Type::kCache);
  EXPECT_EQ(mount.id, "go");
  EXPECT_EQ(mount.sharing, Mount::Sharing::kLocked);
  EXPECT_EQ(mount.uid, 1u);
  EXPECT_EQ(mount.gid, 2u);
  EXPECT_EQ(mount.mode, 0700u);
  EXPECT_FALSE(mount.read_only);
}

TEST(MountTest, IdsAndTargetsAreBounded) {
  const std::string text(4096, 'x');
  for (const char* key : {"id", "target"}) {
    EXPECT_OK(ParseMount(absl::StrCat("type=cache,", key, "=", text), kPosition));
    EXPECT_THAT(ParseMount(absl::StrCat("type=cache,", key, "=x", text), kPosition),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat(key, " of a mount has more than 4096 bytes"))));
  }
}

TEST(MountTest, CacheMayBeReadOnly) {
  for (const char* field : {"ro", "readonly", "ro=true", "rw=false", "readwrite=0", "readonly=1"}) {
    ASSERT_OK_AND_ASSIGN(Mount mount,
                         ParseMount(absl::StrCat("type=cache,target=/c,", field), kPosition));
    EXPECT_TRUE(mount.read_only) << field;
  }
}

TEST(MountTest, TmpfsHasASize) {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"1024", 1024},    {"1k", 1024},   {"1K", 1024},      {"2kb", 2048},      {"2KiB", 2048},
      {"64m", 64 << 20}, {"1.5k", 1536}, {"1g", 1LL << 30}, {"1 g", 1LL << 30}, {"5b", 5}};
  for (const auto& [text, bytes] : cases) {
    ASSERT_OK_AND_ASSIGN(Mount mount,
                         ParseMount(absl::StrCat("type=tmpfs,target=/t,size=", text), kPosition));
    EXPECT_EQ(mount.size_bytes, bytes) << text;
  }
}

TEST(MountTest, SecretHasEnvAndRequired) {
  ASSERT_OK_AND_ASSIGN(Mount mount, ParseMount("type=secret,id=key,env=KEY,required", kPosition));
  EXPECT_EQ(mount.env, "KEY");
  EXPECT_TRUE(mount.required);
  EXPECT_TRUE(mount.read_only);
  ASSERT_OK_AND_ASSIGN(mount, ParseMount("type=ssh,required=false", kPosition));
  EXPECT_FALSE(mount.required);
}

TEST(MountTest, QuotedFieldsMayHaveCommas) {
  ASSERT_OK_AND_ASSIGN(Mount mount,
                       ParseMount(R"(type=bind,"target=/a,b","src=/c""d")", kPosition));
  EXPECT_EQ(mount.target, "/a,b");
  EXPECT_EQ(mount.source, "/c\"d");
}

TEST(MountTest, ValuesAreExpandedAfterTheyAreSplit) {
  const WordExpansion expand = [](absl::string_view word) -> absl::StatusOr<std::string> {
    return word == "$X" ? "/a,ro" : std::string(word);
  };
  ASSERT_OK_AND_ASSIGN(Mount mount, ParseMount("type=cache,target=$X", kPosition, expand));
  EXPECT_EQ(mount.target, "/a,ro");
  EXPECT_FALSE(mount.read_only);
}

TEST(MountTest, FromHasNoVariables) {
  EXPECT_THAT(ParseMount("from=$X,target=/x", kPosition),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'from' doesn't support variable expansion")));
  EXPECT_THAT(MountSource("type=cache,From=base,target=$X", kPosition), IsOkAndHolds("base"));
  EXPECT_THAT(MountSource("target=/x", kPosition), IsOkAndHolds(""));
}

TEST(MountTest, MistakesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "empty"},
      {"type=cahce,target=/x", "did you mean cache?"},
      {"type=x", "unsupported mount type \"x\""},
      {"tarket=/x", "did you mean target?"},
      {"target", "must be a key=value pair"},
      {"type=bind,,target=/x", "must be a key=value pair"},
      {"type=cache,target=/x,sharing=all", "unsupported sharing value"},
      {"type=bind,target=/x,sharing=shared", "sharing not allowed for bind mounts"},
      {"type=bind,target=/x,uid=1", "uid not allowed for bind mounts"},
      {"type=tmpfs,target=/x,mode=1", "mode not allowed for tmpfs mounts"},
      {"type=bind,target=/x,required", "unexpected key 'required' for mount type 'bind'"},
      {"type=bind,target=/x,size=1", "unexpected key 'size' for mount type 'bind'"},
      {"type=tmpfs,target=/x,size=1q", "invalid value for size: 1q"},
      {"type=tmpfs,target=/x,size=", "invalid value for size"},
      {"type=tmpfs,target=/x,size=-1", "invalid value for size"},
      {"type=tmpfs,target=/x,size=99999999999999p", "invalid value for size"},
      {"type=cache,target=/x,mode=9", "invalid value for mode: 9"},
      {"type=cache,target=/x,uid=-1", "invalid value for uid: -1"},
      {"type=cache,target=/x,uid=4294967296", "invalid value for uid"},
      {"target=/x,ro=maybe", "invalid value for ro: maybe"},
      {"type=secret", "one of id, source, target required"},
      {"type=secret,id=a,src=b", "both source and id"},
      {"type=secret,id=a,from=b", "from not allowed"},
      {"\"target=/x", "quotes"},
      {"\"target=/x\"y", "quotes"},
      {"target=\"/x\"", "quotes"}};
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseMount(text, kPosition),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         testing::AllOf(HasSubstr("Dockerfile:3:5: "), HasSubstr(message))))
        << text;
  }
}

TEST(MountSourceTest, ATmpfsReadsNothing) {
  EXPECT_THAT(MountSource("type=tmpfs,target=/t,from=a", {}), IsOkAndHolds(""));
  EXPECT_THAT(MountSource("from=a,TYPE=Tmpfs,target=/t", {}), IsOkAndHolds(""));
  EXPECT_THAT(MountSource("type=cache,target=/t,from=a", {}), IsOkAndHolds("a"));
}

}  // namespace
}  // namespace farm
