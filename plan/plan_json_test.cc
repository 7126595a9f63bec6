#include "plan/plan_json.h"

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"
#include "dockerfile/parser.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plan/plan_text.h"
#include "plan/planner.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Planned {
  absl::StatusOr<Dockerfile> file = absl::UnknownError("not parsed");
  absl::StatusOr<Plan> plan = absl::UnknownError("not planned");
};

Planned PlanOf(const std::string& text) {
  Planned planned;
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  EXPECT_OK(source);
  planned.file = ParseDockerfile(*std::move(source));
  if (!planned.file.ok()) return planned;
  ImageConfig config;
  config.platform = {.os = "linux", .architecture = "amd64"};
  config.diff_ids = {absl::StrCat("sha256:", std::string(64, '0'))};
  ResolvedImages images;
  absl::StatusOr<std::vector<ImageKey>> missing = ImagesToResolve(*planned.file, {}, {});
  if (missing.ok()) {
    for (const ImageKey& key : *missing) {
      images[key] = {.reference = key.name, .manifest = {}, .config = config};
    }
  }
  planned.plan = MakePlan(*planned.file, images, {});
  return planned;
}

std::string JsonOf(const std::string& text) {
  const Planned planned = PlanOf(text);
  return PlanJson(planned.file, planned.plan);
}

TEST(PlanJsonTest, TellsInstructionsStagesStepsAndImage) {
  EXPECT_EQ(
      JsonOf("FROM alpine AS b\nWORKDIR /src\nARG V=dev W\nCOPY go.mod ./\nRUN make $V\n"),
      R"({"schema":"farm.plan/1","ok":true,"instructions":[)"
      R"({"instr":"FROM","line":1,"end_line":1},{"instr":"WORKDIR","line":2,"end_line":2},)"
      R"({"instr":"ARG","line":3,"end_line":3},{"instr":"COPY","line":4,"end_line":4},)"
      R"({"instr":"RUN","line":5,"end_line":5}],"target":0,"stages":[{"index":0,"name":"b",)"
      R"("line":1,"base":{"image":"docker.io/library/alpine:latest"},"platform":"linux/amd64",)"
      R"("needed":true,"deps":["context","image:docker.io/library/alpine:latest"],"steps":[)"
      R"({"instr":"WORKDIR","line":2,"layer":true,"path":"/src"},)"
      R"({"instr":"ARG","line":3,"pairs":[["V","dev"],["W",null]]},)"
      R"({"instr":"COPY","line":4,"layer":true,"from":"context","sources":["/go.mod"],)"
      R"("dest":"/src/"},)"
      R"({"instr":"RUN","line":5,"layer":true,"args":["/bin/sh","-c","make $V"],"env":{)"
      R"("PATH":"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","V":"dev"},)"
      R"("cwd":"/src"}],"image":{"architecture":"amd64","os":"linux","config":{)"
      R"("Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],)"
      R"("WorkingDir":"/src"},"history":[{"created_by":"WORKDIR /src"},)"
      R"({"created_by":"ARG V=dev W","empty_layer":true},)"
      R"({"created_by":"COPY go.mod ./ # buildkit"},)"
      R"({"created_by":"RUN |2 V=dev W= /bin/sh -c make $V # buildkit"}]}}],)"
      R"("sources":["context","image:docker.io/library/alpine:latest"]})"
      "\n");
}

TEST(PlanJsonTest, SaysWhereEachCopyReads) {
  const std::string json = JsonOf(
      "FROM scratch AS a\nFROM a\nCOPY --from=a /x /x\nCOPY --from=busybox /y /y\n"
      "COPY --from=scratch /z /z\n");
  EXPECT_THAT(json, HasSubstr(R"("from":{"stage":0},"sources":["/x"])"));
  EXPECT_THAT(json, HasSubstr(R"("from":{"image":"docker.io/library/busybox:latest"})"));
  EXPECT_THAT(json, HasSubstr(R"("from":"scratch")"));
  EXPECT_THAT(json, HasSubstr(R"("deps":["image:docker.io/library/busybox:latest","stage:0"])"));
  EXPECT_THAT(json, HasSubstr(R"("base":"scratch")"));
  EXPECT_THAT(json, HasSubstr(R"("base":{"stage":0})"));
}

TEST(PlanJsonTest, StagesThatAreNotNeededHaveNoSteps) {
  EXPECT_THAT(JsonOf("FROM node AS unused\nRUN x\nFROM scratch\n"),
              AllOf(HasSubstr(R"("platform":"linux/amd64","needed":false},{)"),
                    HasSubstr(R"("base":{"image":"docker.io/library/node:latest"})"),
                    Not(HasSubstr("sources"))));
}

TEST(PlanJsonTest, DirectivesFlagsAndHeredocsAreToldEvenIfThePlanFails) {
  const std::string json = JsonOf(
      "# syntax=docker/dockerfile:1\nFROM alpine\nCOPY --chown=1 <<-\"EOF\" /a\n\tx\nEOF\n"
      "COPY --chmod=99 a /a\n");
  EXPECT_THAT(json, HasSubstr(R"("ok":false,"error":{"line":6,"message":"invalid chmod)"));
  EXPECT_THAT(json, HasSubstr(R"("directives":{"syntax":"docker/dockerfile:1"})"));
  EXPECT_THAT(json, HasSubstr(R"("flags":["--chown=1"],"heredocs":[{"name":"EOF","expand":false,)"
                              R"("chomp":true,"data":"x\n"}])"));
}

TEST(PlanJsonTest, AnErrorNamesTheFirstLineOfItsInstruction) {
  EXPECT_THAT(JsonOf("FROM alpine\nRUN \\\n  --mount=type=tmpfs,target=/ \\\n  x\n"),
              HasSubstr(R"("error":{"line":2,"message":"invalid mount target)"));
  EXPECT_THAT(JsonOf("FROM alpine\nCOPY --chmod=99 a /a\n"),
              HasSubstr(R"("error":{"line":2,"message":"invalid chmod parameter: '99')"));
}

TEST(PlanJsonTest, MountsAreToldWithTheirDefaults) {
  const std::string json = JsonOf(
      "FROM alpine\nWORKDIR /w\nRUN --mount=type=cache,target=c/ --mount=target=/b,rw "
      "--mount=type=tmpfs,target=/t,size=1k --mount=type=secret,id=s "
      "--mount=type=secret,id=e,env=E --mount=type=ssh --mount=type=ssh,target=/a make\n");
  EXPECT_THAT(
      json,
      HasSubstr(R"("mounts":[{"type":"cache","target":"/w/c","from":"scratch","source":"/",)"
                R"("rw":true,"id":"c","sharing":"shared","uid":0,"gid":0,"mode":"0755"},)"
                R"({"type":"bind","target":"/b","from":"context","source":"/","rw":true},)"
                R"({"type":"tmpfs","target":"/t","size":1024},)"
                R"({"type":"secret","target":"/run/secrets/s","id":"s","uid":0,"gid":0,)"
                R"("mode":"0400"},{"type":"secret","id":"e","env":"E","uid":0,"gid":0,)"
                R"("mode":"0400"},{"type":"ssh","id":"default","uid":0,"gid":0,"mode":"0600"},)"
                R"({"type":"ssh","target":"/a","id":"default","uid":0,"gid":0,)"
                R"("mode":"0600"}])"));
  EXPECT_THAT(json, HasSubstr(R"("deps":["context","image:docker.io/library/alpine:latest"])"));
}

TEST(PlanJsonTest, HeredocsAreFilesScriptsOrInline) {
  const std::string json = JsonOf(
      "FROM alpine\nENV N=world\nRUN <<EOF\nmake\nEOF\nRUN <<S\n#!/bin/awk\nS\n"
      "COPY <<A <<\"B\" /d/\nhello $N\nA\nhello $N\nB\n");
  EXPECT_THAT(json, HasSubstr(R"("args":["/bin/sh","-c","make\n"])"));
  EXPECT_THAT(json, HasSubstr(R"("args":["/bin/sh","-c","/dev/pipes/S"])"));
  EXPECT_THAT(json, HasSubstr(R"("files":[{"path":"/dev/pipes/S","data":"#!/bin/awk\n"}])"));
  EXPECT_THAT(json, HasSubstr(R"("sources":[],"inline":[{"name":"A","data":"hello world\n"},)"
                              R"({"name":"B","data":"hello $N\n"}],"dest":"/d/")"));
}

TEST(PlanJsonTest, RemoteSourcesAreNoDependenciesOfAStage) {
  const std::string json = JsonOf("FROM alpine\nADD https://example.com/a.tar a /d/\n");
  EXPECT_THAT(json, HasSubstr(R"("sources":["https://example.com/a.tar","/a"],"dest":"/d/")"));
  EXPECT_THAT(json, HasSubstr(R"("deps":["context","image:docker.io/library/alpine:latest"])"));
  EXPECT_THAT(json, HasSubstr(R"("sources":["context","http:https://example.com/a.tar",)"
                              R"("image:docker.io/library/alpine:latest"])"));
}

TEST(PlanJsonTest, FlagsOfCopyAreTold) {
  EXPECT_THAT(
      JsonOf("FROM alpine\nCOPY --link --parents --exclude=*.o --chmod=u+x ./src/./a /d/\n"),
      AllOf(HasSubstr(R"("sources":["./src/./a"],"exclude":["*.o"],"dest":"/d/","chmod":"u+x",)"),
            HasSubstr(R"("link":true,"parents":true)")));
}

TEST(PlanJsonTest, AFileThatDoesNotParseIsAnError) {
  EXPECT_THAT(JsonOf("FROM alpine\nRNU make\n"),
              AllOf(HasSubstr(R"("ok":false,"error":{"line":2,"message":"unknown instruction)"),
                    Not(HasSubstr("stages"))));
}

TEST(PlanJsonTest, TriggersAreMarked) {
  EXPECT_THAT(JsonOf("FROM alpine AS a\nONBUILD RUN t\nFROM a\n"),
              HasSubstr(R"({"instr":"RUN","line":3,"onbuild":true,"layer":true,)"));
}

TEST(PlanJsonTest, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_THAT(JsonOf("FROM alpine\nUSER a\xFF\n"), HasSubstr("\"value\":\"a\xEF\xBF\xBD\""));
}

TEST(PlanTextTest, TellsStepsWithWhatTheyReadAndTheImage) {
  const Planned planned = PlanOf(
      "FROM golang AS build\nWORKDIR /src\nCOPY . .\nFROM alpine AS release\nRUN x\n"
      "COPY --from=build /src/a /bin/\n");
  ASSERT_OK(planned.plan);
  EXPECT_EQ(PlanText(*planned.plan),
            "target release (linux/amd64): 4 steps, 3 of them one after the other\n"
            "\n"
            "#1 [build 2/3] WORKDIR /src\n"
            "     on golang:latest\n"
            "#2 [build 3/3] COPY . .\n"
            "     on #1, reads the build context\n"
            "#3 [release 2/3] RUN x\n"
            "     on alpine:latest\n"
            "#4 [release 3/3] COPY --from=build /src/a /bin/\n"
            "     on #3, reads #2\n"
            "\n"
            "image: alpine:latest + #3 + #4\n");
}

TEST(PlanTextTest, APlanWithoutStepsIsItsBase) {
  const Planned planned = PlanOf("FROM alpine\nENV A=1\n");
  ASSERT_OK(planned.plan);
  EXPECT_EQ(PlanText(*planned.plan),
            "target stage 0 (linux/amd64): 0 steps\n\nimage: alpine:latest\n");
}

}  // namespace
}  // namespace farm
