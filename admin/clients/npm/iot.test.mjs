// AWS's SDK for JavaScript against a real gateway: the operations that older SDKs do not know, paginators, and errors as classes.
// .ci/clients starts the gateway and sets MUSTER_ENDPOINT, MUSTER_PLAIN_PORT, NODE_EXTRA_CA_CERTS and AWS's usual variables.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import * as iot from '@aws-sdk/client-iot';
import * as data from '@aws-sdk/client-iot-data-plane';

const { MUSTER_ENDPOINT: endpoint, MUSTER_PLAIN_PORT: plainPort, AWS_DEFAULT_REGION: region } = process.env;
const control = new iot.IoTClient({ endpoint, region, maxAttempts: 1 });
const plane = new data.IoTDataPlaneClient({ endpoint, region, maxAttempts: 1 });

/** ask('CreateThing', {...}) sends a CreateThingCommand. */
const ask = (operation, input = {}) => control.send(new iot[`${operation}Command`](input));

/** Everything that a paginator gives. */
async function all(paginate, items, input) {
  const found = [];
  for await (const page of paginate({ client: control, pageSize: 2 }, input)) found.push(...page[items]);
  return found;
}

const refused = (promise, name) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.name, name, error.message);
    assert.ok(error instanceof iot[name], 'the SDK does not know the error by its class');
    assert.ok(error.message.length > 10, 'an error without a sentence');
    return true;
  });

test('things, types and their pages', async () => {
  await ask('CreateThingType', { thingTypeName: 'npm-type', thingTypeProperties: { thingTypeDescription: 'first', searchableAttributes: ['city'] } });
  await ask('UpdateThingType', {
    thingTypeName: 'npm-type',
    thingTypeProperties: { thingTypeDescription: 'second', mqtt5Configuration: { propagatingAttributes: [{ userPropertyKey: 'city', thingAttribute: 'city' }] } },
  });
  const described = await ask('DescribeThingType', { thingTypeName: 'npm-type' });
  assert.equal(described.thingTypeProperties.thingTypeDescription, 'second');
  assert.deepEqual(described.thingTypeProperties.mqtt5Configuration.propagatingAttributes, [{ userPropertyKey: 'city', thingAttribute: 'city' }]);
  for (let i = 0; i < 5; i++) {
    await ask('CreateThing', { thingName: `npm-thing-${i}`, thingTypeName: 'npm-type', attributePayload: { attributes: { city: 'ulm', n: String(i) } } });
  }
  const things = await all(iot.paginateListThings, 'things', { thingTypeName: 'npm-type' });
  assert.deepEqual(things.map((thing) => thing.thingName), ['npm-thing-0', 'npm-thing-1', 'npm-thing-2', 'npm-thing-3', 'npm-thing-4']);
  await ask('UpdateThing', { thingName: 'npm-thing-0', attributePayload: { attributes: { city: '' }, merge: true } });
  const thing = await ask('DescribeThing', { thingName: 'npm-thing-0' });
  assert.deepEqual([thing.attributes, thing.version], [{ n: '0' }, 2]);
  await refused(ask('UpdateThing', { thingName: 'npm-thing-0', expectedVersion: 7, attributePayload: { attributes: {} } }), 'VersionConflictException');
  await refused(ask('DescribeThing', { thingName: 'nobody' }), 'ResourceNotFoundException');
  await refused(ask('CreateThing', { thingName: 'npm-thing-1' }), 'ResourceAlreadyExistsException');
  const connectivity = await ask('GetThingConnectivityData', { thingName: 'npm-thing-1' });
  assert.equal(connectivity.connected, false);
});

test('groups, static and dynamic, follow a thing at once', async () => {
  await ask('CreateThingGroup', { thingGroupName: 'npm-static', tags: [{ Key: 'a', Value: 'b' }] });
  const dynamic = await ask('CreateDynamicThingGroup', { thingGroupName: 'npm-dynamic', queryString: 'thingGroupNames:npm-static AND attributes.n>1' });
  assert.match(dynamic.thingGroupArn, /:thinggroup\/npm-dynamic$/);
  for (let i = 0; i < 4; i++) await ask('AddThingToThingGroup', { thingGroupName: 'npm-static', thingName: `npm-thing-${i}` });
  const members = () => all(iot.paginateListThingsInThingGroup, 'things', { thingGroupName: 'npm-dynamic' });
  assert.deepEqual(await members(), ['npm-thing-2', 'npm-thing-3']);
  await ask('RemoveThingFromThingGroup', { thingGroupName: 'npm-static', thingName: 'npm-thing-3' });
  assert.deepEqual(await members(), ['npm-thing-2']);
  const groups = await all(iot.paginateListThingGroupsForThing, 'thingGroups', { thingName: 'npm-thing-2' });
  assert.deepEqual(groups.map((group) => group.groupName).sort(), ['npm-dynamic', 'npm-static']);
  const buckets = await ask('GetBucketsAggregation', {
    queryString: 'thingName:npm-*', aggregationField: 'thingGroupNames', bucketsAggregationType: { termsAggregation: { maxBuckets: 10 } },
  });
  assert.deepEqual(buckets.buckets, [{ keyValue: 'npm-static', count: 3 }, { keyValue: 'npm-dynamic', count: 1 }]);
  await ask('DeleteDynamicThingGroup', { thingGroupName: 'npm-dynamic' });
  await ask('DeleteThingGroup', { thingGroupName: 'npm-static' });
});

test('principals of the second version', async () => {
  const certificateSigningRequest = execFileSync(
    'openssl',
    ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=npm'],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const { certificateArn: principal, certificateId, certificatePem } = await ask('CreateCertificateFromCsr', { certificateSigningRequest, setAsActive: true });
  assert.match(certificatePem, /^-----BEGIN CERTIFICATE-----/);
  await ask('AttachThingPrincipal', { thingName: 'npm-thing-1', principal, thingPrincipalType: 'EXCLUSIVE_THING' });
  await assert.rejects(ask('AttachThingPrincipal', { thingName: 'npm-thing-2', principal }), { name: 'InvalidRequestException' });
  assert.deepEqual(await all(iot.paginateListThingPrincipalsV2, 'thingPrincipalObjects', { thingName: 'npm-thing-1' }), [
    { principal, thingPrincipalType: 'EXCLUSIVE_THING' },
  ]);
  assert.deepEqual(await all(iot.paginateListPrincipalThingsV2, 'principalThingObjects', { principal }), [
    { thingName: 'npm-thing-1', thingPrincipalType: 'EXCLUSIVE_THING' },
  ]);
  await ask('DetachThingPrincipal', { thingName: 'npm-thing-1', principal });
  await ask('UpdateCertificate', { certificateId, newStatus: 'REVOKED' });
  await ask('DeleteCertificate', { certificateId });
});

test('publish, retained messages and the end of a connection', async () => {
  const payload = new TextEncoder().encode('{"on":true}');
  await plane.send(new data.PublishCommand({
    topic: 'npm/state', qos: 1, retain: true, payload, contentType: 'application/json', messageExpiry: 600,
    userProperties: JSON.stringify([{ who: 'npm' }]),
  }));
  const kept = await plane.send(new data.GetRetainedMessageCommand({ topic: 'npm/state' }));
  assert.equal(new TextDecoder().decode(kept.payload), '{"on":true}');
  const topics = [];
  for await (const page of data.paginateListRetainedMessages({ client: plane, pageSize: 1 }, {})) topics.push(...page.retainedTopics.map((each) => each.topic));
  assert.ok(topics.includes('npm/state'));
  await plane.send(new data.PublishCommand({ topic: 'npm/state', retain: true, payload: new Uint8Array() }));

  const { connect } = await import('node:net');
  const device = connect(Number(plainPort), '127.0.0.1');
  const id = Buffer.from('npm-thing-4');
  device.write(Buffer.concat([Buffer.from([0x10, 12 + id.length, 0, 4]), Buffer.from('MQTT'), Buffer.from([4, 2, 0, 60, 0, id.length]), id]));
  await new Promise((resolve) => device.once('data', resolve));
  const closed = new Promise((resolve) => device.once('close', resolve));
  device.resume();
  await plane.send(new data.DeleteConnectionCommand({ clientId: 'npm-thing-4' }));
  await closed;
  await assert.rejects(plane.send(new data.DeleteConnectionCommand({ clientId: 'nobody-here' })), { name: 'ResourceNotFoundException' });
});

test('what was made goes', async () => {
  for (let i = 0; i < 5; i++) await ask('DeleteThing', { thingName: `npm-thing-${i}` });
  await ask('DeprecateThingType', { thingTypeName: 'npm-type' });
});
