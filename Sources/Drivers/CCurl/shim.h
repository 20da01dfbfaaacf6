#include <curl/curl.h>

/* Swift cannot call a C function with variable arguments: one function for each type of argument. */
static inline CURLcode counterflow_curl_set_number(CURL *handle, CURLoption option, long value) {
  return curl_easy_setopt(handle, option, value);
}

static inline CURLcode counterflow_curl_set_text(CURL *handle, CURLoption option, const char *value) {
  return curl_easy_setopt(handle, option, value);
}

/* libcurl writes the reason of a failed transfer to the buffer, which has CURL_ERROR_SIZE bytes. */
static inline CURLcode counterflow_curl_set_reason(CURL *handle, char *buffer) {
  return curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, buffer);
}

static inline CURLcode counterflow_curl_set_recipients(CURL *handle, struct curl_slist *recipients) {
  return curl_easy_setopt(handle, CURLOPT_MAIL_RCPT, recipients);
}

static inline CURLcode counterflow_curl_set_source(CURL *handle, curl_read_callback read, void *context) {
  CURLcode status = curl_easy_setopt(handle, CURLOPT_READFUNCTION, read);
  return status == CURLE_OK ? curl_easy_setopt(handle, CURLOPT_READDATA, context) : status;
}

static inline CURLcode counterflow_curl_set_progress(CURL *handle, curl_xferinfo_callback progress) {
  return curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, progress);
}

/* The last reply of the server; 0 if there is none. */
static inline long counterflow_curl_reply(CURL *handle) {
  long reply = 0;
  return curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &reply) == CURLE_OK ? reply : 0;
}

/* The socket of the connection that is kept; -1 if none is kept. */
static inline curl_socket_t counterflow_curl_socket(CURL *handle) {
  curl_socket_t socket = CURL_SOCKET_BAD;
  return curl_easy_getinfo(handle, CURLINFO_ACTIVESOCKET, &socket) == CURLE_OK ? socket : CURL_SOCKET_BAD;
}
