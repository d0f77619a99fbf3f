defmodule DSPex.Demo.LibraryTest do
  use ExUnit.Case, async: true

  alias DSPex.Demo.Library
  alias DSPex.Error

  @moduletag :tmp_dir

  test "the shipped documents have at least twenty questions, each about a document of several pages" do
    assert {:ok, library} = Library.read(Path.expand("../../../examples", __DIR__))
    assert length(library.questions) >= 20
    for question <- library.questions, do: assert(String.length(Library.document(library, question)) > 2_000)
  end

  test "a folder without questions is told with the file's name", %{tmp_dir: folder} do
    assert {:error, %Error{reason: :invalid_input, message: message}} = Library.read(folder)
    assert message =~ Path.join(folder, "questions.json")
    assert message =~ "no such file"
  end

  for {json, problem} <- [
        {"{", "cannot be read"},
        {"[]", "not a list of questions"},
        {"{}", "not a list of questions"},
        {~s([{"question":"q","document":"b.md"}]), ~s(the document "b.md" is not in documents/)},
        {~s([{"question":1,"document":"a.md"}]), "has no text `question`"},
        {~s([7]), "has no text `question`"}
      ] do
    test "the questions #{json} are told as wrong", %{tmp_dir: folder} do
      File.mkdir_p!(Path.join(folder, "documents"))
      File.write!(Path.join(folder, "documents/a.md"), "text")
      File.write!(Path.join(folder, "questions.json"), unquote(json))
      assert {:error, %Error{reason: :invalid_input, message: message}} = Library.read(folder)
      assert message =~ unquote(problem)
    end
  end
end
