// An event of a job's log as a line for people and as a JSON object for programs.
#ifndef GRADWATCH_CLIENT_CLI_EVENT_TEXT_H_
#define GRADWATCH_CLIENT_CLI_EVENT_TEXT_H_

#include <google/protobuf/map.h>

#include <string>

#include "client/cli/json.h"
#include "gradwatch/v1/event.pb.h"

namespace gradwatch::cli {

// What happened, without job and number: one line, for an alert that fires one more for each line of the diagnosis.
std::string EventText(const v1::Event& event);

// What an event says of an edit that was dropped: "edit 7 never held: the job ended first", or, where nobody knows,
// "edit 7 may have held or not (asked for step 900; the run is known to have come to step 23): ...", the steps if its
// own may not have been reached.
std::string DroppedText(const v1::Event& event);

// Whether the event tells that an alert fires from now on; that somebody acknowledges one that does is no news.
bool BeginsToFire(const v1::Event& event);

// "firing", "firing, silenced".
std::string AlertStateText(const v1::Alert& alert);

// "run=7, team=vision"; "none".
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);

// {"type":"event","job":..,"attempt":..,"event":NUMBER,"kind":"alert_changed","time":..,"steps_done":..} and then the
// fields of what happened; before them "step" for an alert and for controls that hold.
JsonObject EventJson(const v1::Event& event);

}  // namespace gradwatch::cli

#endif  // GRADWATCH_CLIENT_CLI_EVENT_TEXT_H_
