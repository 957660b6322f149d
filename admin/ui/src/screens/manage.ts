// The screens of groups, types and policies, in one file of their own.
export { Groups } from './groups';
export { Policies, Policy } from './policies';
export { Type } from './type';
export { Types } from './types';
