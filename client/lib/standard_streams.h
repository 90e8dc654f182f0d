// Standard streams that were closed by whoever started the program.
#ifndef GRADWATCH_CLIENT_LIB_STANDARD_STREAMS_H_
#define GRADWATCH_CLIENT_LIB_STANDARD_STREAMS_H_

namespace gradwatch::client {

// Opens those of descriptors 0, 1 and 2 that are closed, the wrong way round: to use them stays an error, but no socket
// takes their numbers, into which output would be written. First in main, before anything is opened. Ends the program
// if it cannot.
void HoldClosedStandardStreams();

}  // namespace gradwatch::client

#endif  // GRADWATCH_CLIENT_LIB_STANDARD_STREAMS_H_
