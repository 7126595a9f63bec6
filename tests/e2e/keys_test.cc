// Keys are right: after one change to a build exactly the steps that could see it run, each with
// the cause that --explain names, and the image is the one that a farm without any cache makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/image_text.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

// A build before the change. In the Dockerfile and the script @ID@ is text of the case's own, so
// that no case finds what another one left in the farm.
struct Base {
  const char* name;
  const char* dockerfile;
  const char* context;  // Shell commands that make the files of the context.
};

struct Ran {
  const char* step;   // How the instruction begins.
  const char* cause;  // Part of what --explain says.
};

enum class Layers {
  kAny,
  kAsBefore,  // The image's layers are those from before the change, bit for bit.
};

struct Case {
  const char* name;
  const Base& base;
  const char* change;                   // Shell commands in the context's directory.
  std::vector<Ran> ran = {};            // All that run after the change, in the plan's order.
  std::vector<std::string> flags = {};  // Of the second build.
  Layers layers = Layers::kAny;
  Times times = Times::kCompared;
  std::vector<std::string> import = {};  // Arguments of an import that gives tagged:@ID@ anew.
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// --- The builds before the change

// Names of @ID@ are in commands and files, so a base is new for each case that runs something.
constexpr Base kCopy = {
    "copy",
    "FROM base:1\n"
    "COPY src /app\n"
    "COPY *.txt /txt/\n"
    "RUN cat /app/f /txt/* > /sum\n",
    "mkdir -p src/sub; echo f @ID@ > src/f; echo g @ID@ > src/g; echo h > src/sub/h;"
    "ln -s f src/link; echo a @ID@ > a.txt; echo b > b.txt; echo unused > unused;"
    "echo secret > src/secret; printf 'src/secret\\n' > .dockerignore"};
constexpr Base kLinked = {"linked",
                          "FROM base:1\n"
                          "COPY src /app\n"
                          "RUN stat -c %h /app/f > /names\n",
                          "mkdir src; echo f @ID@ > src/f; ln src/f src/f2"};
constexpr Base kConfig = {"config",
                          "ARG TOP=1\n"
                          "FROM base:1\n"
                          "ARG USED=1\n"
                          "ENV A=1 B=2\n"
                          "RUN echo @ID@ $USED > /r\n"
                          "LABEL l=1\n"
                          "EXPOSE 80\n"
                          "RUN echo @ID@ end > /tmp/e\n"
                          "CMD [\"a\"]\n",
                          ""};

constexpr Base kStages = {"stages",
                          "FROM base:1 AS src\n"
                          "COPY v /v\n"
                          "RUN mkdir /out && head -c 1 /v > /out/r && echo @ID@ > /out/id "
                          "&& ln /out/r /out/hard && ln -s r /out/link\n"
                          "FROM base:1 AS side\n"
                          "RUN echo @ID@ > /side\n"
                          "FROM base:1 AS last\n"
                          "COPY --from=src /out /got\n"
                          "RUN ls /got > /ls\n",
                          "echo 1 one @ID@ > v"};

constexpr Base kPlace = {"place",
                         "FROM base:1\n"
                         "RUN mkdir -p /a /b /a/w && ln -s /a /dst && echo @ID@ > /id\n"
                         "WORKDIR /dst/w\n"
                         "COPY --chown=user f /dst/f\n"
                         "RUN pwd > /tmp/after\n",
                         "echo f @ID@ > f"};

constexpr Base kArchive = {"archive",
                           "FROM base:1 AS unpacked\n"
                           "ADD t.tar /\n"
                           "FROM base:1\n"
                           "COPY --from=unpacked /t /t\n"
                           "RUN ls /t > /ls\n",
                           "mkdir t; echo @ID@ > t/x; touch -d 2023-01-01 t t/x;"
                           "tar --format=pax --pax-option="
                           "SCHILY.xattr.user.k:=v -cf t.tar t; rm -r t"};

constexpr Base kXattr = {"xattr",
                         "FROM base:1 AS made\n"
                         "COPY set-xattr /bin/\n"
                         "RUN mkdir /out && echo @ID@ > /out/f && set-xattr /out/f user.k v\n"
                         "FROM base:1\n"
                         "COPY --from=made /out /got\n"
                         "RUN ls /got > /ls\n",
                         "cp -L @SET_XATTR@ set-xattr"};

constexpr Base kTagged = {"tagged",
                          "FROM tagged:@ID@\n"
                          "RUN echo @ID@ > /r\n"
                          "RUN echo @ID@ > /e\n",
                          ""};

// --- The changes

std::vector<Case> Cases() {
  static constexpr char kOtherRoot[] = "the files it starts from have changed";
  const std::vector<Ran> all_of_copy = {{"COPY src", "source src has other content"},
                                        {"COPY *.txt", kOtherRoot},
                                        {"RUN cat", kOtherRoot}};
  std::vector<Case> cases = {
      // Files of the context.
      {"ContentOfTheSameSizeAndTime", kCopy, "echo F @ID@ > src/f", all_of_copy},
      {"ModeOfAFile", kCopy, "chmod 755 src/f", all_of_copy},
      {"SetuidBit", kCopy, "chmod 4644 src/f", all_of_copy},
      {"ModeOfADirectory", kCopy, "chmod 700 src/sub", all_of_copy},
      {"ModeOfTheCopiedDirectoryItself", kCopy, "chmod 700 src", {}, {}, Layers::kAsBefore},
      {"RenameBelowADirectory", kCopy, "mv src/g src/k", all_of_copy},
      {"FilesSwapped", kCopy, "mv src/f x; mv src/g src/f; mv x src/g", all_of_copy},
      {"FileBecomesDirectory", kCopy, "rm src/g; mkdir src/g", all_of_copy},
      {"DirectoryBecomesSymlink", kCopy, "rm -r src/sub; ln -s / src/sub", all_of_copy},
      {"SymlinkPointsElsewhere", kCopy, "ln -sf g src/link", all_of_copy},
      {"SymlinkBecomesAFileOfTheSameContent", kCopy, "rm src/link; cp src/f src/link", all_of_copy},
      {"SymlinkMovesIntoADirectoryOfTheSameName", kCopy,
       "mv src/sub src/h; mkdir src/sub; mv src/h src/sub/h", all_of_copy},
      {"EmptyFileAdded", kCopy, ": > src/empty", all_of_copy},
      {"EmptyDirectoryAdded", kCopy, "mkdir src/empty", all_of_copy},
      {"FileRemoved", kCopy, "rm src/g", all_of_copy},
      {"HardLinkInsteadOfACopyInTheContext", kCopy, "ln src/f src/f2", all_of_copy},
      {"HardLinkBrokenInTheContext",
       kLinked,
       "cp -p src/f x; mv x src/f2",
       {{"COPY src", "source src has other content"}, {"RUN stat", kOtherRoot}}},
      {"FileBecomesFifo", kCopy, "rm src/g; mkfifo src/g", all_of_copy},
      {"WildcardMatchChanges",
       kCopy,
       "echo A @ID@ > a.txt",
       {{"COPY *.txt", "source a.txt has other content"}, {"RUN cat", kOtherRoot}}},
      {"WildcardMatchAdded",
       kCopy,
       "echo c > c.txt",
       {{"COPY *.txt", "source c.txt is new"}, {"RUN cat", kOtherRoot}}},
      {"WildcardMatchRemoved",
       kCopy,
       "rm b.txt",
       {{"COPY *.txt", "source b.txt is gone"}, {"RUN cat", kOtherRoot}}},
      {"WildcardMatchRenamed",
       kCopy,
       "mv b.txt c.txt",
       {{"COPY *.txt", "source c.txt is new"}, {"RUN cat", kOtherRoot}}},
      {"WildcardMatchBecomesSymlinkToEqualContent", kCopy, "mv b.txt b; ln -s b b.txt"},
      {"TimeOfAFile",
       kCopy,
       "touch -d 2023-03-03 src/f a.txt",
       {},
       {},
       Layers::kAsBefore,
       Times::kIgnored},
      {"TimeOfADirectory",
       kCopy,
       "touch -d 2023-03-03 src src/sub",
       {},
       {},
       Layers::kAsBefore,
       Times::kIgnored},
      {"FileThatNothingSelectsIsAdded", kCopy, "echo new > new"},
      {"FileThatNothingSelectsChanges", kCopy, "echo other > unused"},
      {"IgnoredFileChanges", kCopy, "echo other > src/secret"},
      {"IgnoreComment", kCopy, "echo '# note' >> .dockerignore"},
      {"IgnoreOfWhatNothingSelects", kCopy, "echo unused >> .dockerignore"},
      {"IgnoreExcludesAFile", kCopy, "echo src/g >> .dockerignore", all_of_copy},
      {"IgnoreExcludesByWildcard", kCopy, "echo '**/h' >> .dockerignore", all_of_copy},
      {"IgnoreExcludesAWildcardMatch",
       kCopy,
       "echo b.txt >> .dockerignore",
       {{"COPY *.txt", "source b.txt is gone"}, {"RUN cat", kOtherRoot}}},
      {"IgnoreIncludesAFile", kCopy, "echo '!src/secret' >> .dockerignore", all_of_copy},
      {"IgnoreIsRemoved", kCopy, "rm .dockerignore", all_of_copy},
      {"IgnoreOfTheDockerfilesOwn", kCopy, "echo src/g > Dockerfile.dockerignore", all_of_copy},

      // How a COPY says it.
      {"AnotherWildcardWithTheSameMatches", kCopy, "sed -i 's/[*].txt/?.txt/' Dockerfile"},
      {"SourceMovedWithItsLine", kCopy,
       "mv src lib; sed -i 's/COPY src/COPY lib/' Dockerfile; echo lib/secret > .dockerignore"},
      {"FileMovedWithItsLine", kPlace, "mkdir d; mv f d/f; sed -i 's, f , d/f ,' Dockerfile"},
      {"SourceWrittenInAnotherWay", kCopy, "sed -i 's,COPY src,COPY ./src/,' Dockerfile"},
      {"DestinationIsAnother",
       kPlace,
       "sed -i 's,/dst/f,/dst/g,' Dockerfile",
       {{"COPY", "destination"}, {"RUN pwd", kOtherRoot}}},
      {"CopiesSwapped",
       kCopy,
       "sed -i '2{h;d};3{G}' Dockerfile",
       {{"COPY *.txt", kOtherRoot}, {"COPY src", kOtherRoot}, {"RUN cat", kOtherRoot}}},
      {"AddOfADirectoryInsteadOfCopy", kCopy, "sed -i 's/COPY src/ADD src/' Dockerfile"},
      {"AddOfAFileInsteadOfCopyIsAdopted",
       kPlace,
       "sed -i 's/COPY/ADD/' Dockerfile",
       {{"ADD", "source f has other content"}},
       {},
       Layers::kAsBefore},
      {"Chmod",
       kPlace,
       "sed -i 's/COPY/COPY --chmod=600/' Dockerfile",
       {{"COPY", "mode"}, {"RUN pwd", kOtherRoot}}},
      {"Chown",
       kPlace,
       "sed -i 's/=user/=daemon/' Dockerfile",
       {{"COPY", "ownership"}, {"RUN pwd", kOtherRoot}}},
      {"ChownBySameNumberIsAdopted",
       kPlace,
       "sed -i 's/=user/=1000:1000/' Dockerfile",
       {{"COPY", "ownership"}},
       {},
       Layers::kAsBefore},
      {"DestinationThatMeansTheSameIsAdopted",
       kPlace,
       "sed -i 's,/dst/f,/dst/,' Dockerfile",
       {{"COPY", "destination"}},
       {},
       Layers::kAsBefore},
      {"PasswdChangesUnderChownByName",
       kPlace,
       "sed -i 's,RUN mkdir,RUN sed -i s/1000/2000/ /etc/passwd \\&\\& mkdir,' Dockerfile",
       {{"RUN sed", "command"},
        {"WORKDIR", kOtherRoot},
        {"COPY", kOtherRoot},
        {"RUN pwd", kOtherRoot}}},
      {"SymlinkInTheDestination",
       kPlace,
       "sed -i 's,ln -s /a,ln -s /b,' Dockerfile",
       {{"RUN mkdir", "command"},
        {"WORKDIR", kOtherRoot},
        {"COPY", kOtherRoot},
        {"RUN pwd", kOtherRoot}}},

      // WORKDIR, USER.
      {"Workdir",
       kPlace,
       "sed -i 's,/dst/w,/dst/x,' Dockerfile",
       {{"WORKDIR", "directory"}, {"COPY", kOtherRoot}, {"RUN pwd", "working directory"}}},
      {"WorkdirWrittenInAnotherWay", kPlace, "sed -i 's,WORKDIR /,WORKDIR ,' Dockerfile"},
      {"UserBeforeWorkdir",
       kPlace,
       "sed -i '3i USER user' Dockerfile",
       {{"WORKDIR", "ownership"}, {"RUN pwd", "user"}}},
      {"UserBeforeARun",
       kConfig,
       "sed -i '8i USER user' Dockerfile",
       {{"RUN echo @ID@ end", "user"}}},
      {"UserOfTheSameNumberIsAnotherKey",
       kConfig,
       "sed -i '8i USER 0' Dockerfile",
       {{"RUN echo @ID@ end", "user"}},
       {},
       Layers::kAsBefore},
      {"UserAfterTheLastRun", kConfig, "echo USER user >> Dockerfile"},

      // Variables.
      {"EnvValue",
       kConfig,
       "sed -i 's/A=1/A=2/' Dockerfile",
       {{"RUN echo @ID@", "variable A has another value"},
        {"RUN echo @ID@ end", "variable A has another value"}},
       {},
       Layers::kAsBefore},
      {"EnvOrder",
       kConfig,
       "sed -i 's/A=1 B=2/B=2 A=1/' Dockerfile",
       {{"RUN echo", "order"}, {"RUN echo", "order"}},
       {},
       Layers::kAsBefore},
      {"EnvAdded",
       kConfig,
       "sed -i '4a ENV C=3' Dockerfile",
       {{"RUN echo", "variable C is new"}, {"RUN echo", "variable C is new"}},
       {},
       Layers::kAsBefore},
      {"EnvRemoved",
       kConfig,
       "sed -i 's/ B=2//' Dockerfile",
       {{"RUN echo", "variable B is gone"}, {"RUN echo", "variable B is gone"}},
       {},
       Layers::kAsBefore},
      {"EnvBetweenRuns",
       kConfig,
       "sed -i '5a ENV C=3' Dockerfile",
       {{"RUN echo @ID@ end", "variable C is new"}},
       {},
       Layers::kAsBefore},
      {"EnvAfterTheLastRun", kConfig, "echo ENV C=3 >> Dockerfile"},
      {"EnvSplitInTwoLines", kConfig, "sed -i 's/ B=2/\\nENV B=2/' Dockerfile"},
      {"EnvQuoted", kConfig, "sed -i 's/A=1/A=\"1\"/' Dockerfile"},
      {"ArgDefault",
       kConfig,
       "sed -i 's/USED=1/USED=2/' Dockerfile",
       {{"RUN echo @ID@", "variable USED"}, {"RUN echo @ID@ end", "starts from"}}},
      {"ArgValue",
       kConfig,
       "",
       {{"RUN echo @ID@", "variable USED has another value"},
        {"RUN echo @ID@ end", "variable USED has another value"}},
       {"--build-arg", "USED=2"}},
      {"ArgOfItsDefaultValue", kConfig, "", {}, {"--build-arg", "USED=1"}},
      {"ArgThatIsNotDeclared", kConfig, "", {}, {"--build-arg", "NOBODY=1"}},
      {"ArgBeforeFromThatNoFromUses", kConfig, "sed -i 's/TOP=1/TOP=2/' Dockerfile"},
      {"ArgWithoutAValue", kConfig, "sed -i '4i ARG EMPTY' Dockerfile"},
      {"ArgAfterTheLastRun", kConfig, "echo ARG LATE=1 >> Dockerfile"},
      {"ArgThatNoRunMentions",
       kConfig,
       "sed -i '4i ARG UNUSED=1' Dockerfile",
       {{"RUN echo", "variable UNUSED is new"}, {"RUN echo", "variable UNUSED is new"}},
       {},
       Layers::kAsBefore},
      {"ArgBecomesEnv", kConfig, "sed -i 's/^ARG USED=1/ENV USED=1/' Dockerfile"},
      {"ProxyArguments",
       kConfig,
       "",
       {},
       {"--build-arg", "HTTP_PROXY=http://127.0.0.1:1", "--build-arg", "no_proxy=x"}},

      // What is in no key, or in the config alone.
      {"LabelFlag", kConfig, "", {}, {"--label", "l=2"}},
      {"SamePlatform", kConfig, "", {}, {"--platform", "linux/amd64"}},
      {"TargetIsTheLastStage", kConfig, "", {}, {"--target", "0"}},
      {"Label", kConfig, "sed -i 's/l=1/l=2/' Dockerfile"},
      {"Cmd", kConfig, "sed -i 's/^CMD.*/CMD b/' Dockerfile"},
      {"Expose", kConfig, "sed -i 's/EXPOSE 80/EXPOSE 81/' Dockerfile"},
      {"Entrypoint", kConfig, "sed -i '4i ENTRYPOINT [\"/bin/sh\"]' Dockerfile"},
      {"Stopsignal", kConfig, "sed -i '4i STOPSIGNAL 9' Dockerfile"},
      {"Healthcheck", kConfig, "sed -i '4i HEALTHCHECK CMD true' Dockerfile"},
      {"Volume", kConfig, "sed -i '4i VOLUME /data' Dockerfile"},
      {"Onbuild", kConfig, "sed -i '4i ONBUILD RUN false' Dockerfile"},

      // What a RUN is.
      {"NetworkNone",
       kConfig,
       "",
       {{"RUN echo", "network"}, {"RUN echo", "network"}},
       {"--network", "none"},
       Layers::kAsBefore},
      {"ExtraHost",
       kConfig,
       "",
       {{"RUN echo", "list of extra hosts is new"}, {"RUN echo", "list of extra hosts is new"}},
       {"--add-host", "db:10.0.0.1"},
       Layers::kAsBefore},
      {"SizeOfSharedMemory",
       kConfig,
       "",
       {{"RUN echo", "size of /dev/shm is new"}, {"RUN echo", "size of /dev/shm is new"}},
       {"--shm-size", "1m"},
       Layers::kAsBefore},
      {"Ulimit",
       kConfig,
       "",
       {{"RUN echo", "list of ulimits is new"}, {"RUN echo", "list of ulimits is new"}},
       {"--ulimit", "nofile=500"},
       Layers::kAsBefore},
      {"NetworkDefault", kConfig, "", {}, {"--network", "default"}},
      {"NetworkOfOneRun",
       kConfig,
       "sed -i '5s/RUN/RUN --network=none/' Dockerfile",
       {{"RUN --network=none", "network"}},
       {},
       Layers::kAsBefore},
      {"NoCache",
       kConfig,
       "",
       {{"RUN echo", "--no-cache"}, {"RUN echo", "--no-cache"}},
       {"--no-cache"},
       Layers::kAsBefore},
      {"OtherCommandWithAnEqualResult",
       kConfig,
       "sed -i '5s/RUN/RUN true;/' Dockerfile",
       {{"RUN true", "command"}},
       {},
       Layers::kAsBefore},
      {"OtherCommandWithAnotherResult",
       kConfig,
       "sed -i '5s/echo/echo x/' Dockerfile",
       {{"RUN echo x", "command"}, {"RUN echo @ID@ end", kOtherRoot}}},
      {"TimeThatARunSets",
       kConfig,
       "sed -i '5s,$, ; touch -d @1000 /r,' Dockerfile",
       {{"RUN echo", "command"}, {"RUN echo @ID@ end", kOtherRoot}}},
      {"ModeThatARunSets",
       kConfig,
       "sed -i '5s,$, ; chmod 600 /r,' Dockerfile",
       {{"RUN echo", "command"}, {"RUN echo @ID@ end", kOtherRoot}}},
      {"OwnerThatARunSets",
       kConfig,
       "sed -i '5s,$, ; chown user /r,' Dockerfile",
       {{"RUN echo", "command"}, {"RUN echo @ID@ end", kOtherRoot}}},
      {"RunAdded",
       kConfig,
       "echo RUN echo @ID@ more >> Dockerfile",
       {{"RUN echo @ID@ more", "no earlier run"}}},
      {"RunRemoved", kConfig, "sed -i 8d Dockerfile"},
      {"RunInExecForm", kConfig,
       "sed -i '8s,.*,RUN [\"/bin/sh\"\\, \"-c\"\\, \"echo @ID@ end > /tmp/e\"],' Dockerfile"},
      {"Shell",
       kConfig,
       "sed -i '3i SHELL [\"/bin/busybox\", \"sh\", \"-c\"]' Dockerfile",
       {{"RUN echo", "command"}, {"RUN echo", "command"}},
       {},
       Layers::kAsBefore},
      {"ShellAfterTheLastRun", kConfig, "echo 'SHELL [\"/bin/ash\"]' >> Dockerfile"},

      // How the Dockerfile is written, and where it is.
      {"Comment", kCopy, "sed -i '3i # a comment' Dockerfile"},
      {"EmptyLinesAndTrailingSpaces", kCopy, "sed -i 's/$/  \\n/' Dockerfile"},
      {"Indentation", kCopy, "sed -i 's/^/  /' Dockerfile"},
      {"LowerCase", kCopy, "sed -i 's/^RUN/run/; s/^COPY/copy/; s/^FROM/from/' Dockerfile"},
      {"Continuation", kCopy, "sed -i 's,^RUN cat ,RUN cat \\\\\\n# why\\n,' Dockerfile"},
      {"DosLineEnds", kCopy, "sed -i 's/$/\\r/' Dockerfile"},
      {"SyntaxDirective", kCopy, "sed -i '1i # syntax=docker/dockerfile:1' Dockerfile"},
      {"EscapeDirective", kCopy, "sed -i '1i # escape=`' Dockerfile"},
      {"DockerfileOfAnotherName", kCopy, "mv Dockerfile F", {}, {"-f", "@DIR@/F"}},
      {"StageGetsAName", kCopy, "sed -i '1s/$/ AS named/' Dockerfile"},

      // Stages.
      {"StageRebuiltWithAnEqualResult",
       kStages,
       "echo 1 two @ID@ > v",
       {{"COPY v", "source v has other content"}, {"RUN mkdir", kOtherRoot}},
       {},
       Layers::kAsBefore},
      {"StageRebuiltWithAnotherResult",
       kStages,
       "echo 2 two @ID@ > v",
       {{"COPY v", "source v has other content"},
        {"RUN mkdir", kOtherRoot},
        {"COPY --from", "source out has other content"},
        {"RUN ls", kOtherRoot}}},
      {"StageWritesElsewhere",
       kStages,
       "sed -i '3s,$, \\&\\& echo > /else,' Dockerfile",
       {{"RUN mkdir", "command"}},
       {},
       Layers::kAsBefore},
      {"StageSetsTimesOnly",
       kStages,
       "sed -i '3s,$, \\&\\& touch -d @1000 /out/r,' Dockerfile",
       {{"RUN mkdir", "command"}},
       {},
       Layers::kAsBefore,
       Times::kIgnored},
      {"HardLinkBrokenInAStage",
       kStages,
       "sed -i '3s/ln /cp /' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"ModeInAStage",
       kStages,
       "sed -i '3s,$, \\&\\& chmod 600 /out/id,' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"OwnerInAStage",
       kStages,
       "sed -i '3s,$, \\&\\& chown user /out/id,' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"SymlinkInAStage",
       kStages,
       "sed -i '3s,ln -s r,ln -s id,' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"DeviceInAStage",
       kStages,
       "sed -i '3s,$, \\&\\& mknod /out/null c 1 3,' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"StageThatNothingNeeds", kStages, "sed -i '5s/side/other/' Dockerfile"},
      {"StageThatWasNotNeededIsTheTarget",
       kStages,
       "",
       {{"RUN echo", "no earlier run"}},
       {"--target", "side"}},
      {"StageIsTheTarget", kStages, "", {}, {"--target", "src"}},
      {"StageRenamed", kStages, "sed -i 's/AS src/AS first/; s/=src/=first/' Dockerfile"},
      {"StageByItsNumber", kStages, "sed -i 's/=src/=0/' Dockerfile"},
      {"StagesReordered", kStages, "sed -i -n '1,3{H;d};4,5p;5{x;s/^\\n//;p};6,$p' Dockerfile"},

      // Archives.
      {"XattrInAStage",
       kArchive,
       "mkdir x; tar -xf t.tar -C x; tar --format=pax --pax-option="
       "SCHILY.xattr.user.k:=w -cf t.tar -C x t; rm -r x",
       {{"ADD t.tar", "source t.tar has other content"},
        {"COPY --from", "source t"},
        {"RUN ls", kOtherRoot}}},
      {"XattrThatARunSets",
       kXattr,
       "sed -i '3s/user.k v/user.k w/' Dockerfile",
       {{"RUN mkdir", "command"}, {"COPY --from", "source out"}, {"RUN ls", kOtherRoot}}},
      {"ArchiveCompressedIsAdopted",
       kArchive,
       "gzip -n t.tar; sed -i s/t.tar/t.tar.gz/ Dockerfile",
       {{"ADD t.tar.gz", "source t.tar.gz is new"}},
       {},
       Layers::kAsBefore},
      {"ArchiveCopiedNotAdded",
       kArchive,
       "sed -i '2s/ADD/COPY/; 4s,/t /t,/t.tar /t/,' Dockerfile",
       {{"COPY t.tar", "source t.tar has other content"},
        {"COPY --from", "source t.tar is new"},
        {"RUN ls", kOtherRoot}}},

      // Images under a name that stays.
      {"TagOfAnotherRoot",
       kTagged,
       "",
       {{"RUN echo", kOtherRoot}, {"RUN echo", kOtherRoot}},
       {},
       Layers::kAny,
       Times::kCompared,
       {"@OTHER@"}},
      {"TagOfTheSameRoot", kTagged, "", {}, {}, Layers::kAsBefore, Times::kCompared, {"@ROOT@"}},
      {"TagOfAnotherLabel",
       kTagged,
       "",
       {},
       {},
       Layers::kAsBefore,
       Times::kCompared,
       {"--change", "LABEL x=1", "@ROOT@"}},
      {"TagOfAnotherEnv",
       kTagged,
       "",
       {{"RUN echo", "variable X is new"}, {"RUN echo", "variable X is new"}},
       {},
       Layers::kAsBefore,
       Times::kCompared,
       {"--change", "ENV X=1", "@ROOT@"}},
      {"EqualRootUnderAnotherName", kTagged, "sed -i 's/tagged:.*/base:1/' Dockerfile"},
  };
  return cases;
}

// --- The test

class KeysTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    set_xattr_ = new std::string(
        absl::StrCat(std::filesystem::current_path().string(), "/tests/testing/set-xattr"));
    other_root_ = new std::string(BusyboxRootTar() + ".other");
    RunShell(absl::StrCat("cd /tmp && cp ", BusyboxRootTar(), " ", *other_root_, " && tar -rf ",
                          *other_root_, " --mtime=2024-01-01 /etc/hostname"));
    warm_ = new LocalFarmUnderTest;
    cold_ = new LocalFarmUnderTest;
    for (const LocalFarmUnderTest* farm : {warm_, cold_}) {
      farm->FarmOk({"import", BusyboxRootTar(), "base:1"});
    }
  }
  static void TearDownTestSuite() {
    delete warm_;
    delete cold_;
    delete other_root_;
    delete set_xattr_;
  }

  std::string id() const { return GetParam().ran.empty() ? "equal" : GetParam().name; }

  std::string Filled(absl::string_view text) const {
    return absl::StrReplaceAll(text, {{"@ID@", id()},
                                      {"@DIR@", dir_.path()},
                                      {"@ROOT@", BusyboxRootTar()},
                                      {"@OTHER@", *other_root_},
                                      {"@SET_XATTR@", *set_xattr_}});
  }

  // Runs commands in the context, then gives everything new one time, years back. What tells a file
  // from its predecessor is then what the case changes, and nothing else.
  void Edit(const std::string& script) {
    const CommandResult result =
        RunShell(absl::StrCat("umask 022; { :\n", Filled(script),
                              "\n} && find . -newermt '12 hours ago' -exec "
                              "touch -h -d '2024-01-02 03:04:05 UTC' {} +"),
                 {.dir = dir_.path()});
    ASSERT_EQ(result.exit_code, 0) << result.all();
  }

  std::string StateOfContext() const {
    return RunShell(
               "find . -printf '%P %y %m %n %T@ %l\\n' | sort; find . -type f | sort | "
               "xargs cksum",
               {.dir = dir_.path()})
        .out;
  }

  std::vector<std::string> BuildCommand(std::vector<std::string> flags) const {
    std::vector<std::string> args = {"build", "--progress=rawjson", "--explain", "-t",
                                     absl::AsciiStrToLower(Filled("@ID@:1"))};
    for (const std::string& flag : flags) args.push_back(Filled(flag));
    args.push_back(dir_.path());
    return args;
  }

  void Tag(const LocalFarmUnderTest& farm) const {
    if (&GetParam().base != &kTagged) return;
    farm.FarmOk({"import", BusyboxRootTar(), Filled("tagged:@ID@")});
  }

  void ImportAgain(const LocalFarmUnderTest& farm) const {
    if (GetParam().import.empty()) return;
    std::vector<std::string> args = {"import"};
    for (const std::string& arg : GetParam().import) args.push_back(Filled(arg));
    args.push_back(Filled("tagged:@ID@"));
    farm.FarmOk(args);
  }

  static std::string* set_xattr_;
  static std::string* other_root_;
  static LocalFarmUnderTest* warm_;
  static LocalFarmUnderTest* cold_;  // Builds with --no-cache, and knows no build before a change.
  ScratchDir dir_;
  ScratchDir out_;
};
std::string* KeysTest::set_xattr_ = nullptr;
std::string* KeysTest::other_root_ = nullptr;
LocalFarmUnderTest* KeysTest::warm_ = nullptr;
LocalFarmUnderTest* KeysTest::cold_ = nullptr;

TEST_P(KeysTest, ExactlyTheStepsThatSeeTheChangeRun) {
  const Case& c = GetParam();
  dir_.Write("Dockerfile", Filled(c.base.dockerfile));
  Edit(c.base.context);
  Tag(*warm_);
  const CommandResult before = warm_->FarmOk(BuildCommand({}));
  const std::string context_before = StateOfContext();

  Edit(c.change);
  ASSERT_TRUE(StateOfContext() != context_before || !c.flags.empty() || !c.import.empty())
      << "nothing was changed";
  std::future<CommandResult> cold = std::async(std::launch::async, [&] {
    Tag(*cold_);
    ImportAgain(*cold_);
    std::vector<std::string> flags = c.flags;
    for (const char* flag : {"--no-cache", "-o"}) flags.push_back(flag);
    flags.push_back(absl::StrCat("type=oci,dest=", out_ / "cold"));
    return cold_->FarmOk(BuildCommand(flags));
  });
  ImportAgain(*warm_);
  std::vector<std::string> flags = c.flags;
  flags.push_back("-o");
  flags.push_back(absl::StrCat("type=oci,dest=", out_ / "warm"));
  const CommandResult after = warm_->FarmOk(BuildCommand(flags));
  cold.wait();

  const std::vector<StepReport> steps = ReadSteps(after.err);
  ASSERT_FALSE(steps.empty());
  std::vector<StepReport> ran;
  for (const StepReport& step : steps) {
    if (step.ran) ran.push_back(step);
  }
  ASSERT_EQ(ran.size(), c.ran.size()) << Describe(steps);
  for (size_t i = 0; i < ran.size(); ++i) {
    EXPECT_TRUE(absl::StartsWith(ran[i].instruction, Filled(c.ran[i].step))) << Describe(steps);
    EXPECT_THAT(ran[i].cause, HasSubstr(c.ran[i].cause)) << Describe(steps);
  }
  if (c.layers == Layers::kAsBefore) {
    EXPECT_EQ(DiffIds(steps), DiffIds(ReadSteps(before.err))) << Describe(steps);
  }
  EXPECT_EQ(DescribeImage(out_ / "warm", c.times), DescribeImage(out_ / "cold", c.times));
}

INSTANTIATE_TEST_SUITE_P(Changes, KeysTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace farm
