exports.greeting = (version) =>
  `hello ${version} from node in ${process.env.NODE_ENV} as ${process.getuid()}\n`;
