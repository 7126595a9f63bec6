#ifndef FARM_PLAN_PLAN_TEXT_H_
#define FARM_PLAN_PLAN_TEXT_H_

#include <string>

#include "plan/plan.h"

namespace farm {

// The steps of `plan` for people, in an order that can run, each with what it stands on and reads.
// Warnings are not among it.
//
//   target release (linux/amd64): 5 steps, 4 of them one after the other
//
//   #1 [build 2/3] WORKDIR /src
//        on golang:latest
//   #2 [build 3/3] RUN make
//        on #1
//   #3 [release 2/2] COPY --from=build /src/a /usr/bin/
//        on alpine:latest, reads #2
//
//   image: alpine:latest + #3
std::string PlanText(const Plan& plan);

}  // namespace farm

#endif  // FARM_PLAN_PLAN_TEXT_H_
