// The screens that come in one file of their own.
export { About } from './about';
export { AccessKeys } from './accesskeys';
export { Audit } from './audit';
export { Enrollment } from './enrollment';
export { Password } from './password';
export { Tokens } from './tokens';
export { Users } from './users';
