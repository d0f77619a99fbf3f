defmodule DSPex.Tool do
  @moduledoc """
  An Elixir function that a DSPy program may call.

      iex> tool = DSPex.Tool.new("add", fn %{"a" => a, "b" => b} -> a + b end, desc: "Adds two numbers.")
      iex> DSPex.Tool.run(tool, %{"a" => 1, "b" => 2})
      {:ok, 3}

  The function takes the arguments as a map with text keys, and returns a value, `{:ok, value}` or `{:error, reason}`. It
  runs in a process of its own; what it raises becomes a `:tool_error` of the program's call, or an observation of ReAct.
  """

  alias DSPex.Error

  @enforce_keys [:name, :function]
  defstruct [:name, :function, :desc, :schema, timeout: 30_000]

  @type t :: %__MODULE__{
          name: String.t(),
          function: (map -> term),
          desc: String.t() | nil,
          schema: map | DSPex.Ordered.t() | nil,
          timeout: timeout
        }

  @doc """
  Makes a tool.

  Options:

    * `:desc` – what the tool does, for the LM
    * `:schema` – JSON Schema of the arguments (an object)
    * `:timeout` – milliseconds for one run, or `:infinity` (30,000)
  """
  @spec new(String.t(), (map -> term), keyword) :: t
  def new(name, function, options \\ []) do
    unless is_binary(name) and name =~ ~r/\A[A-Za-z_][A-Za-z0-9_]{0,127}\z/,
      do: raise(ArgumentError, "the name of a tool is a text like \"search\", not #{inspect(name)}")

    unless is_function(function, 1),
      do: raise(ArgumentError, "tool #{name}: its function takes one argument, the map of arguments")

    unknown = Keyword.keys(options) -- [:desc, :schema, :timeout]

    if unknown != [],
      do: raise(ArgumentError, "tool #{name}: unknown options #{inspect(unknown)}; known are desc, schema, timeout")

    struct!(%__MODULE__{name: name, function: function}, options)
  end

  @doc "The tool as it stands in a program's JSON; its function stays here."
  @spec to_json(t) :: map
  def to_json(%__MODULE__{} = tool) do
    timeout = if is_integer(tool.timeout), do: tool.timeout
    members = [{"desc", tool.desc}, {"schema", tool.schema}, {"timeout_ms", timeout}]
    for {name, value} <- members, value != nil, into: %{"name" => tool.name}, do: {name, value}
  end

  @doc "Runs the function in the calling process. Whatever it does, the outcome is a value or an error."
  @spec run(t, map) :: {:ok, term} | {:error, Error.t()}
  def run(%__MODULE__{} = tool, arguments) do
    case tool.function.(arguments) do
      {:ok, value} -> {:ok, value}
      {:error, %Error{} = error} -> {:error, error}
      {:error, reason} -> {:error, error(tool.name, describe(reason))}
      value -> {:ok, value}
    end
  rescue
    exception -> {:error, error(tool.name, Exception.message(exception))}
  catch
    :throw, value -> {:error, error(tool.name, "it threw #{inspect(value, limit: 5)}")}
    :exit, reason -> {:error, error(tool.name, "it exited: #{inspect(reason, limit: 5)}")}
  end

  @doc "An error of the tool with that name."
  @spec error(String.t(), String.t()) :: Error.t()
  def error(name, problem),
    do: Error.new(:tool_error, "the tool #{name} failed: #{problem}", details: %{"tool" => name})

  defp describe(reason) when is_binary(reason), do: reason
  defp describe(%{__exception__: true} = exception), do: Exception.message(exception)
  defp describe(reason), do: inspect(reason, limit: 5)
end
