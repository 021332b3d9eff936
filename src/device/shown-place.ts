/** A path or URI as messages show it: the URL of a web server without user, password and query, where signatures and tokens are. */
export function shownPlace(place: string): string {
  return place.replace(/^(https?:\/\/)(?:[^/?#]*@)?([^?#]*).*$/is, '$1$2')
}
