// Reads a Jenkinsfile with Groovy, whose version 2.4 is the one inside Jenkins, and with the words of a declarative
// pipeline each in its place and no others. Prints what it says as JSON: [word, arguments, what is in its braces].
import groovy.json.JsonOutput
import org.codehaus.groovy.control.CompilerConfiguration

class Block {
    static final Map WORDS = [
        '': ['pipeline'],
        pipeline: ['agent', 'options', 'stages', 'post'],
        options: ['disableConcurrentBuilds'],
        stages: ['stage'],
        stage: ['steps', 'post'],
        steps: ['sh'],
        post: ['always', 'success'],
        always: ['junit'],
        success: ['archiveArtifacts'],
    ]
    static final Map REQUIRED = [pipeline: ['agent', 'stages'], stages: ['stage'], stage: ['steps'], steps: ['sh']]
    String kind
    List said = []

    def methodMissing(String word, arguments) {
        if (!(word in WORDS[kind])) throw new IllegalArgumentException("${word} in ${kind ?: 'the file'}")
        def (inside, given) = (arguments as List).split { it instanceof Closure }
        said << [word, given, inside ? inside.collect { read(word, it) }.sum() : []]
    }

    def propertyMissing(String word) {
        if (kind == 'pipeline' && word in ['any', 'none']) return word
        throw new MissingPropertyException(word, Block)
    }

    static List read(String kind, Closure body) {
        def block = new Block(kind: kind)
        body.delegate = block
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body()
        def missing = (REQUIRED[kind] ?: []) - block.said*.first()
        if (missing) throw new IllegalArgumentException("${kind} without ${missing}")
        return block.said
    }
}

def settings = new CompilerConfiguration(scriptBaseClass: DelegatingScript.name)
def script = (DelegatingScript) new GroovyShell(this.class.classLoader, new Binding(), settings).parse(new File(args[0]))
def file = new Block(kind: '')
script.setDelegate(file)
script.run()
println JsonOutput.toJson(file.said)
