defmodule DSPex.Error do
  @external_resource Path.expand("../../../proto/errors.toml", __DIR__)
  @rows DSPex.Error.Table.parse!(File.read!(@external_resource))
  @by_kind Map.new(@rows, &{&1["kind"], &1})
  @by_reason Map.new(@rows, &{String.to_atom(&1["elixir"]), &1})
  @reasons Enum.map(@rows, &String.to_atom(&1["elixir"]))
  @reason_of_kind Map.new(@rows, &{&1["kind"], String.to_atom(&1["elixir"])})

  @moduledoc """
  The one exception of this library. Its `reason` is one of a closed set, which Elixir and Python read from one table:

  | reason | may be retried | what happened | what to do |
  |---|---|---|---|
  #{Enum.map_join(@rows, "\n", &"| `:#{&1["elixir"]}` | #{if &1["retryable"], do: "yes", else: "no"} | #{&1["summary"]} | #{&1["hint"]} |")}

  Fields:

    * `reason` – one of the atoms above
    * `message` – what happened, where, and what to do
    * `retryable?` – whether the same call may succeed later without being changed
    * `retry_after` – seconds to wait before a retry, or `nil`
    * `details` – a map with text keys: `"problems"`, `"provider"`, `"status"`, `"tool"`, `"limit"`, …
    * `hint` – what the caller can do
    * `need` – what the worker lacks (`"program"`), or `nil`
    * `traceback` – Python's, only from a worker in debug mode
  """

  defexception [:reason, :message, :retryable?, :retry_after, :hint, :need, :traceback, details: %{}]

  @type reason ::
          unquote(Enum.reduce(Enum.reverse(@reasons), fn reason, rest -> {:|, [], [reason, rest]} end))

  @type t :: %__MODULE__{
          reason: reason,
          message: String.t(),
          retryable?: boolean,
          retry_after: number | nil,
          details: map,
          hint: String.t() | nil,
          need: String.t() | nil,
          traceback: String.t() | nil
        }

  @doc """
  The closed set of reasons, in the order of the table.

      iex> :timeout in DSPex.Error.reasons()
      true
  """
  @spec reasons() :: [reason]
  def reasons, do: @reasons

  @doc """
  Makes an error. Options: `:retryable?`, `:retry_after`, `:details`, `:need`; `:hint`, in the place of the reason's own.

      iex> DSPex.Error.new(:timeout, "too late").retryable?
      false
      iex> DSPex.Error.new(:overloaded, "full", retry_after: 2).retry_after
      2
  """
  @spec new(reason, String.t(), keyword) :: t
  def new(reason, message, options \\ []) do
    row = Map.fetch!(@by_reason, reason)

    %__MODULE__{
      reason: reason,
      message: message,
      retryable?: Keyword.get(options, :retryable?, row["retryable"]),
      retry_after: options[:retry_after],
      details: Keyword.get(options, :details, %{}),
      need: options[:need],
      hint: Keyword.get(options, :hint, row["hint"])
    }
  end

  @doc """
  The `:invalid_input` of an argument or option that is wrong; its message says what is allowed, and no hint speaks of inputs.

      iex> DSPex.Error.argument("timeout is :soon; it must be milliseconds").hint
      nil
  """
  @spec argument(String.t()) :: t
  def argument(message), do: new(:invalid_input, message, hint: nil)

  @doc """
  Reads the `error` object of an answer (`proto/PROTOCOL.md`, section 4). An unknown kind becomes `:internal`.

      iex> DSPex.Error.from_object(%{"code" => -32011, "message" => "late", "data" => %{"kind" => "timeout"}}).reason
      :timeout
  """
  @spec from_object(term) :: t
  def from_object(%{} = object) do
    data = if is_map(object["data"]), do: object["data"], else: %{}
    row = Map.get(@by_kind, data["kind"], @by_kind["internal"])

    %__MODULE__{
      reason: Map.fetch!(@reason_of_kind, row["kind"]),
      message: text(object["message"]) || row["summary"],
      retryable?: if(is_boolean(data["retryable"]), do: data["retryable"], else: row["retryable"]),
      retry_after: if(is_number(data["retry_after"]), do: data["retry_after"]),
      details: if(is_map(data["details"]), do: data["details"], else: %{}),
      hint: text(data["hint"]) || row["hint"],
      need: text(data["need"]),
      traceback: text(data["traceback"])
    }
  end

  def from_object(_other), do: from_object(%{})

  @doc "Gives the `error` object of an answer: code, message and data."
  @spec to_object(t) :: map
  def to_object(%__MODULE__{} = error) do
    row = Map.fetch!(@by_reason, error.reason)
    data = %{"kind" => row["kind"], "retryable" => error.retryable?, "hint" => error.hint || row["hint"]}
    optional = [{"need", error.need}, {"retry_after", error.retry_after}, {"details", present(error.details)}]
    data = for {name, value} <- optional, value != nil, into: data, do: {name, value}
    %{"code" => row["code"], "message" => error.message, "data" => data}
  end

  @doc """
  The HTTP status that stands for the error.

      iex> DSPex.Error.http_status(DSPex.Error.new(:timeout, "too late"))
      504
  """
  @spec http_status(t) :: 400..599
  def http_status(%__MODULE__{reason: reason}), do: Map.fetch!(@by_reason, reason)["http"]

  @impl Exception
  def message(%__MODULE__{} = error), do: "#{error.reason}: #{error.message}#{advice(error)}"

  defp advice(%{hint: nil}), do: ""
  defp advice(%{hint: hint}), do: " (#{hint})"

  defp text(value) when is_binary(value), do: value
  defp text(_value), do: nil

  defp present(map) when map_size(map) == 0, do: nil
  defp present(map), do: map
end
