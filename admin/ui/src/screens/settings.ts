// The screens that come in one file of their own.
export { About } from './about';
export { Audit } from './audit';
export { Enrollment } from './enrollment';
export { Tokens } from './tokens';
