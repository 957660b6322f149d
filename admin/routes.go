package admin

// apiRoutes are the routes at the root. What matches none of them and names no resource of the API is a file of the UI.
var apiRoutes = []route{
	{method: "GET", pattern: "/healthz", op: "health", scope: open, handle: plain(getHealth)},
	{method: "GET", pattern: "/readyz", op: "ready", scope: open, handle: answers[readiness](plain(getReady))},
	{method: "GET", pattern: "/metrics", op: "metrics", scope: loopback, handle: plain(getMetrics)},

	{method: "GET", pattern: "/api/setup", op: "needsSetup", scope: open, handle: plain(getSetup)},
	{method: "POST", pattern: "/api/setup", op: "setup", scope: open, audited: true, handle: body(postSetup)},
	{method: "POST", pattern: "/api/login", op: "login", scope: open, audited: true, handle: body(postLogin)},
	{method: "POST", pattern: "/api/logout", op: "logout", scope: read, audited: true, handle: plain(postLogout)},
	{method: "GET", pattern: "/api/me", op: "me", scope: read, handle: plain(getMe)},

	{method: "GET", pattern: "/api/overview", op: "overview", scope: read, handle: plain(getOverview)},
	{method: "GET", pattern: "/api/overview/live", op: "overviewLive", scope: read, handle: plain(getOverviewLive)},
	{method: "GET", pattern: "/api/things", op: "searchThings", scope: read, handle: plain(searchThings)},
	{method: "GET", pattern: "/api/explain", op: "explainQuery", scope: read, handle: plain(explainQuery)},
	{method: "GET", pattern: "/api/things/{thingName}", op: "getThing", scope: read, handle: plain(getThing)},
	{method: "GET", pattern: "/api/things/{thingName}/twin", op: "getTwin", scope: read, handle: plain(getTwin)},

	{method: "GET", pattern: "/api/thing-types/{thingTypeName}/telemetry", op: "getReadings", scope: read, handle: plain(getReadings)},
	{method: "PUT", pattern: "/api/thing-types/{thingTypeName}/telemetry", op: "putReadings", scope: fleet, audited: true, handle: body(putReadings)},
	{method: "DELETE", pattern: "/api/thing-types/{thingTypeName}/telemetry", op: "deleteReadings", scope: fleet, audited: true, handle: plain(deleteReadings)},

	{method: "GET", pattern: "/api/allow", op: "listAllowed", scope: identity, handle: plain(listAllowed)},
	{method: "POST", pattern: "/api/allow", op: "allow", scope: identity, audited: true, handle: takes[[]allowInput](plain(postAllow))},
	{method: "DELETE", pattern: "/api/allow/{spkiSha256}", op: "removeAllowed", scope: identity, audited: true, handle: plain(deleteAllowed)},
	{method: "GET", pattern: "/api/refused", op: "listRefused", scope: identity, handle: plain(listRefused)},
	{method: "POST", pattern: "/api/certificates/{certificateId}/revoke", op: "revokeCertificate", scope: identity, audited: true, handle: plain(revokeCertificate)},
	{method: "POST", pattern: "/api/things/{thingName}/revoke", op: "revokeThing", scope: identity, audited: true, handle: plain(revokeThing)},
	{method: "GET", pattern: "/api/audit", op: "listAudit", scope: auditing, handle: answers[auditEntries](plain(getAudit))},
	{method: "POST", pattern: "/api/backup", op: "backup", scope: accounts, audited: true, handle: body(postBackup)},

	{method: "POST", pattern: "/api/login-links", op: "createLoginLink", scope: accounts, audited: true, handle: body(postLoginLink)},
	{method: "GET", pattern: "/api/users", op: "listUsers", scope: accounts, handle: plain(listUsers)},
	{method: "POST", pattern: "/api/users", op: "createUser", scope: accounts, audited: true, handle: creates(body(createUser))},
	{method: "PATCH", pattern: "/api/users/{username}", op: "changeUser", scope: accounts, audited: true, handle: body(changeUser)},
	{method: "DELETE", pattern: "/api/users/{username}", op: "deleteUser", scope: accounts, audited: true, handle: plain(deleteUser)},
	{method: "GET", pattern: "/api/tokens", op: "listTokens", scope: accounts, handle: plain(listTokens)},
	{method: "POST", pattern: "/api/tokens", op: "createToken", scope: accounts, audited: true, handle: creates(body(createToken))},
	{method: "DELETE", pattern: "/api/tokens/{id}", op: "deleteToken", scope: accounts, audited: true, handle: plain(deleteToken)},
	{method: "GET", pattern: "/api/access-keys", op: "listAccessKeys", scope: accounts, handle: plain(listAccessKeys)},
	{method: "POST", pattern: "/api/access-keys", op: "createAccessKey", scope: accounts, audited: true, handle: creates(body(createAccessKey))},
	{method: "DELETE", pattern: "/api/access-keys/{id}", op: "deleteAccessKey", scope: accounts, audited: true, handle: plain(deleteAccessKey)},

	{method: "POST", pattern: "/prometheus/api/v1/write", op: "remoteWrite", scope: telemetry, handle: plain(takeTelemetry)},
	{method: "POST", pattern: "/prometheus/api/v1/import", op: "importTelemetry", scope: telemetry, handle: plain(takeTelemetry)},
	{method: "POST", pattern: "/influx/write", op: "influxWrite", scope: telemetry, handle: plain(takeTelemetry)},
	{method: "POST", pattern: "/influx/api/v2/write", op: "influxWrite", scope: telemetry, handle: plain(takeTelemetry)},
	{method: "POST", pattern: "/prometheus/api/v1/read", op: "remoteRead", scope: read, readsByPost: true, handle: plain(remoteRead)},
	{method: "POST", pattern: "/prometheus/api/v1/admin/tsdb/delete_series", op: "deleteSeries", scope: fleet, audited: true, handle: plain(deleteSeries)},
	{method: "GET", pattern: "/prometheus/api/v1/export", op: "exportTelemetry", scope: read, handle: plain(exportTelemetry)},

	{method: "GET", pattern: "/.well-known/est/cacerts", op: "estCACerts", scope: open, handle: plain(estCACerts)},
	{method: "GET", pattern: "/.well-known/est/csrattrs", op: "estAttrs", scope: open, handle: plain(estAttrs)},
	{method: "POST", pattern: "/.well-known/est/simpleenroll", op: "estEnroll", scope: open, audited: true, handle: plain(estEnroll)},
	{method: "POST", pattern: "/.well-known/est/simplereenroll", op: "estReenroll", scope: open, audited: true, handle: plain(estReenroll)},
	{method: "GET", pattern: "/pki/crl", op: "crl", scope: open, handle: plain(getCRL)},
	{method: "GET", pattern: "/mqtt", op: "mqttWebSocket", scope: open, handle: plain(getMQTT)},
}

// iotRoutes are AWS IoT's control plane (service model iot, 2015-05-28), served at the root to requests signed for the
// service iot, and under /iot to tokens and sessions.
var iotRoutes = []route{
	{method: "POST", pattern: "/things/{thingName}", op: "CreateThing", scope: fleet, audited: true, handle: awsBody(createThing)},
	{method: "GET", pattern: "/things/{thingName}", op: "DescribeThing", scope: read, handle: plain(describeThing)},
	{method: "PATCH", pattern: "/things/{thingName}", op: "UpdateThing", scope: fleet, audited: true, handle: awsBody(updateThing)},
	{method: "DELETE", pattern: "/things/{thingName}", op: "DeleteThing", scope: fleet, audited: true, handle: plain(deleteThing)},
	{method: "GET", pattern: "/things", op: "ListThings", scope: read, handle: plain(listThings)},
	{method: "POST", pattern: "/indices/search", op: "SearchIndex", scope: read, readsByPost: true, handle: awsBody(searchIndex)},
	{method: "POST", pattern: "/indices/statistics", op: "GetStatistics", scope: read, readsByPost: true, handle: awsBody(getStatistics)},
	{method: "POST", pattern: "/indices/percentiles", op: "GetPercentiles", scope: read, readsByPost: true, handle: awsBody(getPercentiles)},
	{method: "POST", pattern: "/indices/cardinality", op: "GetCardinality", scope: read, readsByPost: true, handle: awsBody(getCardinality)},
	{method: "POST", pattern: "/indices/buckets", op: "GetBucketsAggregation", scope: read, readsByPost: true, handle: awsBody(getBuckets)},
	{method: "GET", pattern: "/indices/{indexName}", op: "DescribeIndex", scope: read, handle: plain(describeIndex)},
	{method: "GET", pattern: "/indices", op: "ListIndices", scope: read, handle: plain(listIndices)},
	{method: "GET", pattern: "/indexing/config", op: "GetIndexingConfiguration", scope: read, handle: plain(getIndexingConfiguration)},
	{method: "POST", pattern: "/indexing/config", op: "UpdateIndexingConfiguration", scope: fleet, audited: true, handle: awsBody(updateIndexingConfiguration)},
	{method: "POST", pattern: "/things/{thingName}/connectivity-data", op: "GetThingConnectivityData", scope: read, readsByPost: true, handle: plain(getThingConnectivityData)},
	{method: "GET", pattern: "/event-configurations", op: "DescribeEventConfigurations", scope: read, handle: plain(describeEventConfigurations)},
	{method: "PATCH", pattern: "/event-configurations", op: "UpdateEventConfigurations", scope: fleet, audited: true, handle: awsBody(updateEventConfigurations)},
	{method: "GET", pattern: "/endpoint", op: "DescribeEndpoint", scope: read, handle: plain(describeEndpoint)},
}
