import { expect, test } from 'vitest';
import { policyProblem, resourceOf, startingPolicy, targetName } from './policy';

test('a new policy is one', () => expect(policyProblem(startingPolicy)).toBeUndefined());

test('what is no policy has a reason', () => {
  expect(policyProblem('{')).toMatch(/^Not JSON yet: /);
  expect(policyProblem('null')).toBe('Version must be "2012-10-17".');
  expect(policyProblem('{"Version":"2012-10-17","Statement":[]}')).toMatch(/at least one/);
});

test('resources are of the same gateway', () => {
  const arn = 'arn:aws:iot:local:123456789012:policy/lamps';
  expect(resourceOf(arn, 'SUBSCRIBE', 'dt/a/#')).toBe('arn:aws:iot:local:123456789012:topicfilter/dt/a/#');
  expect(resourceOf(arn, 'CONNECT', 'a:b')).toBe('arn:aws:iot:local:123456789012:client/a:b');
});

test('an ARN names its target, colons and slashes in it included', () => {
  expect(targetName('arn:aws:iot:local:123456789012:thinggroup/a:b')).toEqual({ kind: 'thinggroup', name: 'a:b' });
  expect(targetName('arn:aws:iot:local:123456789012:cert/0aff')).toEqual({ kind: 'cert', name: '0aff' });
});
