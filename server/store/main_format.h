// The tables of the main database.
#ifndef GRADWATCH_SERVER_STORE_MAIN_FORMAT_H_
#define GRADWATCH_SERVER_STORE_MAIN_FORMAT_H_

#include "server/store/sqlite.h"

namespace gradwatch::server {

const DatabaseFormat& MainFormat();

}  // namespace gradwatch::server

#endif  // GRADWATCH_SERVER_STORE_MAIN_FORMAT_H_
