import { expect, test } from 'vitest';
import { policyProblem, startingPolicy, targetName } from './policy';

test('a new policy is one', () => expect(policyProblem(startingPolicy)).toBeUndefined());

test('what is no policy has a reason', () => {
  expect(policyProblem('{')).toMatch(/^Not JSON yet: /);
  expect(policyProblem('null')).toBe('Version must be "2012-10-17".');
  expect(policyProblem('{"Version":"2012-10-17","Statement":[]}')).toMatch(/at least one/);
});

test('an ARN names its target, colons and slashes in it included', () => {
  expect(targetName('arn:aws:iot:local:123456789012:thinggroup/a:b')).toEqual({ kind: 'thinggroup', name: 'a:b' });
  expect(targetName('arn:aws:iot:local:123456789012:cert/0aff')).toEqual({ kind: 'cert', name: '0aff' });
});
